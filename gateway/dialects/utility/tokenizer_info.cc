// GET /tokenizer_info: what lm-eval's remote tokenizer asks before it starts.
#include <algorithm>
#include <array>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/answer.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

// The class that transformers would load for a vocabulary of this kind.
std::string_view ClassOf(std::string_view kind) {
  struct Row {
    std::string_view kind;
    std::string_view name;
  };
  constexpr std::array kRows = {Row{"gpt2", "GPT2TokenizerFast"},
                                Row{"llama", "LlamaTokenizerFast"},
                                Row{"bert", "BertTokenizerFast"}, Row{"t5", "T5TokenizerFast"}};
  for (const Row& row : kRows) {
    if (row.kind == kind) return row.name;
  }
  return "PreTrainedTokenizerFast";
}

std::string EncodeInfo(const v1::ModelStatus& model) {
  const v1::TokenizerInfo& tokenizer = model.details().tokenizer();
  base::JsonWriter json;
  json.BeginObject();
  json.Field("tokenizer_class", ClassOf(tokenizer.kind()));
  const auto text = [&json](std::string_view key, const std::string& value) {
    openai::TextOrNull(json, key, !value.empty(), value);
  };
  text("bos_token", tokenizer.bos_token());
  text("eos_token", tokenizer.eos_token());
  text("pad_token", tokenizer.pad_token());
  text("unk_token", tokenizer.unk_token());
  text("chat_template", model.details().chat_template());
  json.Field("model_max_length", model.context_length());
  json.Field("add_bos_token", tokenizer.adds_bos());
  json.Field("vocab_size", model.details().vocab_size());
  json.Field("model", model.name());
  json.EndObject();
  return json.Take();
}

Task<absl::StatusOr<v1::ModelStatus>> Describe(const Services& services, Exchange& exchange) {
  absl::StatusOr<std::string> name =
      ChooseModel(services, exchange.request,
                  exchange.request.Query("model").value_or(std::string()), "completion");
  if (!name.ok()) co_return name.status();
  co_return co_await DescribeModel(services, exchange, *std::move(name));
}

Task<void> TokenizerInfo(const Services& services, Exchange& exchange) {
  const absl::StatusOr<v1::ModelStatus> model = co_await Describe(services, exchange);
  if (!model.ok()) {
    co_await ReplyError(exchange, model.status(), openai::ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeInfo(*model));
}

}  // namespace

Task<absl::StatusOr<v1::ModelStatus>> DescribeModel(const Services& services, Exchange& exchange,
                                                    std::string name) {
  exchange.record.model = name;
  Call<v1::ListModelsReply> call =
      services.models->Describe(name, std::chrono::steady_clock::now() + services.times.store);
  const absl::StatusOr<v1::ListModelsReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return reply.status();
  for (const v1::ModelStatus& model : reply->models()) {
    if (model.name() == name) co_return model;
  }
  co_return base::Unavailable("the worker has no model `" + name + "` any more");
}

void AddTokenizerInfoRoutes(Router& router, const Services& services) {
  openai::AddBoth(router, "GET", "/tokenizer_info",
                  [&services](Exchange& e) { return TokenizerInfo(services, e); });
}

}  // namespace conclave::gateway::utility
