// POST /v1/completions: raw text in, text out, no template.
#include <limits>
#include <utility>

#include "gateway/dialects/openai/answer.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/format.h"
#include "gateway/dialects/openai/kt_legacy.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/openai/sampling.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;
using base::JsonWriter;

constexpr std::string_view kObject = "text_completion";
constexpr size_t kStopMax = 16;  // lm-eval sends all the stop strings it has
constexpr int32_t kMaxTokensDefault = 16;
constexpr size_t kPromptTokensMax = 1u << 20;

struct CompletionsRequest {
  v1::GenerateRequest generate;
  StreamOptions stream;
};

// A string or token ids; a list of prompts may hold one.
absl::Status ReadPrompt(JsonValue prompt, v1::GenerateRequest* out) {
  if (prompt.is_string()) {
    ASSIGN_OR_RETURN(std::string text, prompt.AsString());
    if (text.empty()) return prompt.Error("must not be empty");
    out->set_text(std::move(text));
    return absl::OkStatus();
  }
  if (!prompt.is_array()) {
    return prompt.Error(prompt.present() ? "expected string or array" : "required");
  }
  if (prompt.size() == 0) return prompt.Error("must not be empty");
  if (!prompt.At(0).is_number()) {
    if (prompt.size() > 1) return prompt.Error("this server takes 1 prompt per request");
    const JsonValue only = prompt.At(0);
    if (only.is_array() && (only.size() == 0 || !only.At(0).is_number())) {
      return only.Error("expected token ids");
    }
    return ReadPrompt(only, out);
  }
  if (prompt.size() > kPromptTokensMax) return prompt.Error("too many tokens");
  for (size_t i = 0; i < prompt.size(); ++i) {
    ASSIGN_OR_RETURN(const int64_t id, prompt.At(i).AsInt(0, std::numeric_limits<int32_t>::max()));
    out->mutable_token_ids()->add_ids(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::StatusOr<CompletionsRequest> Decode(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  CompletionsRequest request;
  ASSIGN_OR_RETURN(std::string model, root.Get("model").AsString());
  request.generate.set_model(std::move(model));
  RETURN_IF_ERROR(ReadPrompt(root.Get("prompt"), &request.generate));
  RETURN_IF_ERROR(ReadSampling(root, kStopMax, &request.generate));
  RETURN_IF_ERROR(ReadFormat(root, &request.generate));
  ASSIGN_OR_RETURN(const std::optional<int64_t> limit,
                   root.Get("max_tokens").OptionalInt(1, std::numeric_limits<int32_t>::max()));
  request.generate.mutable_stop()->set_max_tokens(
      static_cast<int32_t>(limit.value_or(kMaxTokensDefault)));
  ASSIGN_OR_RETURN(const std::optional<int64_t> best_of, root.Get("best_of").OptionalInt(1, 20));
  if (best_of.value_or(1) != 1) {
    return root.Get("best_of").Error("this server makes 1 choice per request");
  }
  // The legacy arrays need the prompt's own logprobs, which no worker gives yet.
  RETURN_IF_ERROR(RefuseFields(root, {"suffix", "echo", "logprobs"}));
  ASSIGN_OR_RETURN(request.stream, ReadStreamOptions(root));
  return request;
}

void WriteChoice(JsonWriter& json, std::string_view text, std::string_view finish) {
  json.Field("text", text);
  json.Field("index", 0);
  json.NullField("logprobs");
  WriteFinishReason(json, finish);
}

class StreamEncoder final : public AnswerStream {
 public:
  StreamEncoder(AnswerIdentity identity, bool include_usage)
      : AnswerStream(std::move(identity), kObject, include_usage) {}

 private:
  void OnAccepted(std::string*) override {}
  void OnDelta(const v1::Delta& delta, std::string* out) override {
    if (!delta.text().empty()) SendText(delta.text(), "", out);
  }
  void OnFinished(const v1::Finished& finished, std::string* out) override {
    SendText("", FinishReasonName(finished.reason()), out);
  }
  void SendText(std::string_view text, std::string_view finish, std::string* out) {
    Chunk([&](JsonWriter& json) { WriteChoice(json, text, finish); }, out);
  }
};

std::string Encode(const AnswerIdentity& identity, const Completion& completion) {
  const Completion::Choice& choice = completion.choices.front();
  JsonWriter json;
  json.BeginObject();
  WriteAnswerHead(json, identity, kObject, FingerprintOf(completion.accepted));
  json.Key("choices");
  json.BeginArray();
  json.BeginObject();
  WriteChoice(json, choice.text, FinishReasonName(choice.finished.reason()));
  json.EndObject();
  json.EndArray();
  json.Key("usage");
  WriteUsage(json, completion.usage);
  json.EndObject();
  return json.Take();
}

Task<void> Complete(const Services& services, Exchange& exchange) {
  absl::StatusOr<CompletionsRequest> request = Decode(exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  const AnswerIdentity identity = NewAnswer(services, "cmpl-", request->generate);
  if (request->stream.stream && exchange.request.profile == CompatProfile::kKtLegacy) {
    KtCompletionStream encoder;
    co_await StreamGeneration(services, exchange, std::move(request->generate), encoder, ErrorJson);
    co_return;
  }
  if (request->stream.stream) {
    StreamEncoder encoder(identity, request->stream.include_usage);
    co_await StreamGeneration(services, exchange, std::move(request->generate), encoder, ErrorJson);
    co_return;
  }
  const auto encode = [&identity](const Completion& whole) { return Encode(identity, whole); };
  co_await ReplyGeneration(services, exchange, std::move(request->generate), encode, ErrorJson);
}

}  // namespace

void AddCompletionRoutes(Router& router, const Services& services) {
  AddBoth(router, "POST", "/completions",
          [&services](Exchange& exchange) { return Complete(services, exchange); });
}

}  // namespace conclave::gateway::openai
