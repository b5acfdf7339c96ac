// POST /api/embed and the old POST /api/embeddings.
#include <chrono>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/embedding_call.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/ollama/options.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/ollama/stream.h"

namespace conclave::gateway::ollama {
namespace {

using base::JsonValue;

constexpr size_t kInputsMax = 2048;
constexpr int64_t kDimensionsMax = 1 << 16;

struct Decoded {
  v1::EmbedRequest embed;
  std::string model;  // as the request named it
  bool empty = false;
};

absl::Status ReadInput(JsonValue input, v1::EmbedRequest* out) {
  const auto add = [out](JsonValue value) -> absl::Status {
    ASSIGN_OR_RETURN(std::string text, value.AsString());
    out->add_inputs()->set_text(std::move(text));
    return absl::OkStatus();
  };
  if (input.is_string()) return add(input);
  if (!input.is_array()) return base::InvalidArgument("invalid input type");
  if (input.size() > kInputsMax) return input.Error("at most 2048 inputs");
  for (size_t i = 0; i < input.size(); ++i) RETURN_IF_ERROR(add(input.At(i)));
  return absl::OkStatus();
}

absl::Status ReadModel(const Services& services, JsonValue root, Decoded* out) {
  const absl::StatusOr<std::string> model = root.Get("model").AsString();
  if (!model.ok() || model->empty()) return base::InvalidArgument("model is required");
  out->model = *model;
  ASSIGN_OR_RETURN(std::string name, ResolveModel(*services.models, *model));
  out->embed.set_model(std::move(name));
  return absl::OkStatus();
}

absl::Status ReadStay(JsonValue root, v1::EmbedRequest* out) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> keep_alive, ReadKeepAlive(root.Get("keep_alive")));
  if (keep_alive) out->mutable_meta()->set_keep_alive_ms(*keep_alive);
  return absl::OkStatus();
}

absl::StatusOr<Decoded> DecodeEmbed(const Services& services, const std::string& body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  Decoded decoded;
  RETURN_IF_ERROR(ReadModel(services, root, &decoded));
  RETURN_IF_ERROR(ReadStay(root, &decoded.embed));
  if (!root.Get("input").missing()) RETURN_IF_ERROR(ReadInput(root.Get("input"), &decoded.embed));
  decoded.empty = decoded.embed.inputs().empty();
  ASSIGN_OR_RETURN(const std::optional<bool> truncate, root.Get("truncate").OptionalBool());
  decoded.embed.set_truncate(truncate.value_or(true) ? v1::EmbedRequest::TRUNCATE_END
                                                     : v1::EmbedRequest::TRUNCATE_NONE);
  ASSIGN_OR_RETURN(const std::optional<int64_t> dimensions,
                   root.Get("dimensions").OptionalInt(0, kDimensionsMax));
  decoded.embed.set_dimensions(static_cast<int32_t>(dimensions.value_or(0)));
  return decoded;
}

absl::StatusOr<Decoded> DecodeOldEmbed(const Services& services, const std::string& body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  Decoded decoded;
  RETURN_IF_ERROR(ReadModel(services, root, &decoded));
  RETURN_IF_ERROR(ReadStay(root, &decoded.embed));
  ASSIGN_OR_RETURN(std::optional<std::string> prompt, root.Get("prompt").OptionalString());
  decoded.empty = prompt.value_or("").empty();
  decoded.embed.add_inputs()->set_text(prompt.value_or(std::string()));
  decoded.embed.set_normalize(false);  // this route gives the raw vector
  return decoded;
}

std::string Floats(const v1::EmbeddingVector& vector) {
  return EncodeFloats({vector.values().data(), static_cast<size_t>(vector.values_size())});
}

std::string EncodeEmbed(const std::string& model, const Embeddings& embeddings) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("model", model);
  json.Key("embeddings");
  json.BeginArray();
  for (const v1::EmbeddingVector& vector : embeddings.vectors) json.Raw(Floats(vector));
  json.EndArray();
  WriteDuration(json, "total_duration", embeddings.timings.total_ms());
  WriteLoadDuration(json, embeddings.timings);
  json.Field("prompt_eval_count", embeddings.usage.prompt_tokens());
  json.EndObject();
  return json.Take();
}

// Nothing to embed, and a word on the model's stay: it is loaded, or let go of.
Task<absl::Status> Keep(const Services& services, Exchange& exchange,
                        const v1::EmbedRequest& request) {
  v1::KeepModelRequest keep;
  keep.set_name(request.model());
  keep.set_keep_alive_ms(request.meta().keep_alive_ms());
  keep.set_load_wait_ms(LoadWaitOf(services).count());
  Call<v1::KeepModelReply> call = services.workers->KeepModel(
      std::move(keep), std::chrono::steady_clock::now() + services.times.embed);
  co_return (co_await AwaitReply(std::move(call), exchange.out)).status();
}

Task<void> Run(const Services& services, Exchange& exchange, absl::StatusOr<Decoded> decoded,
               bool old_shape) {
  if (!decoded.ok()) {
    co_await ReplyError(exchange, decoded.status(), ErrorJson);
    co_return;
  }
  absl::StatusOr<Embeddings> embeddings = Embeddings();
  if (decoded->empty && decoded->embed.meta().has_keep_alive_ms()) {
    const absl::Status kept = co_await Keep(services, exchange, decoded->embed);
    if (!kept.ok()) embeddings = kept;
  } else if (!decoded->empty) {
    embeddings = co_await EmbedInputs(services, exchange, std::move(decoded->embed));
  }
  if (!embeddings.ok()) {
    co_await ReplyError(exchange, embeddings.status(), ErrorJson);
    co_return;
  }
  if (!old_shape) {
    co_await ReplyJson(exchange, EncodeEmbed(decoded->model, *embeddings));
    co_return;
  }
  base::JsonWriter json;
  json.BeginObject();
  json.RawField("embedding", embeddings->vectors.empty() ? std::string("[]")
                                                         : Floats(embeddings->vectors.front()));
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

}  // namespace

void AddEmbedRoutes(Router& router, const Services& services) {
  router.Add(
      "POST", "/api/embed",
      [&services](Exchange& exchange) {
        return Run(services, exchange, DecodeEmbed(services, exchange.request.body), false);
      },
      AnyContentType());
  router.Add(
      "POST", "/api/embeddings",
      [&services](Exchange& exchange) {
        return Run(services, exchange, DecodeOldEmbed(services, exchange.request.body), true);
      },
      AnyContentType());
}

}  // namespace conclave::gateway::ollama
