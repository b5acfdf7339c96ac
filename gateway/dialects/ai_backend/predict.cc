// predict: JSON in and JSON out, as the model itself defines them; for models that generate or
// embed, the OpenAI objects.
#include <chrono>
#include <string>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/ai_backend/errors.h"
#include "gateway/dialects/ai_backend/routes.h"
#include "gateway/dialects/generation.h"

namespace conclave::gateway::ai_backend {
namespace {

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

Task<absl::StatusOr<std::string>> AskModel(const Services& services, Exchange& exchange,
                                           std::string model, std::string body) {
  exchange.record.model = model;
  absl::StatusOr<Admission::Permit> permit =
      co_await services.admission->Enter(model, exchange.out);
  if (!permit.ok()) co_return permit.status();
  v1::PredictRequest request;
  *request.mutable_meta() = MetaOf(services, exchange.request);
  request.set_model(model);
  request.set_body_json(body);
  // The first word of the path is the method towards the model.
  request.set_method(exchange.request.head.path.starts_with("/get/") ? "GET" : "POST");
  Call<v1::PredictReply> call = services.inference->Predict(
      std::move(request), std::chrono::steady_clock::now() + services.times.generate);
  absl::StatusOr<v1::PredictReply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return reply.status();
  co_return std::move(*reply->mutable_body_json());
}

Task<void> PredictOpaque(const Services& services, Exchange& exchange, std::string model) {
  std::string body = exchange.request.body.empty() ? "{}" : exchange.request.body;
  const absl::StatusOr<JsonDocument> document = JsonDocument::Parse(body);
  if (!document.ok()) {
    co_await ReplyError(exchange, document.status(), ErrorJson);
    co_return;
  }
  absl::StatusOr<std::string> answer =
      co_await AskModel(services, exchange, std::move(model), std::move(body));
  if (!answer.ok()) {
    co_await ReplyError(exchange, answer.status(), kModelErrors);
    co_return;
  }
  co_await ReplyJson(exchange, *std::move(answer));
}

struct OpenAiCall {
  std::string_view path;
  std::string body;
};

// The body with the model's name in it; a lone `input` becomes a user's message.
std::string BodyFor(JsonValue root, const std::string& model, bool input_is_message) {
  JsonWriter json;
  json.BeginObject();
  json.Field("model", model);
  root.ForEachMember([&](std::string_view name, JsonValue value) {
    const bool replaced = name == "model" || (input_is_message && name == "input");
    if (!replaced) json.RawField(name, value.ToJson());
  });
  if (input_is_message) {
    json.Key("messages");
    json.BeginArray();
    json.BeginObject();
    json.Field("role", "user");
    json.RawField("content", root.Get("input").ToJson());
    json.EndObject();
    json.EndArray();
  }
  json.EndObject();
  return json.Take();
}

absl::StatusOr<v1::ModelStatus> FindNamed(const Services& services,
                                          const absl::StatusOr<std::string>& name) {
  if (!name.ok()) return name.status();
  return services.models->FindReady(*name, services.waits_for_loading());
}

absl::StatusOr<OpenAiCall> Translate(std::string_view body, const std::string& name,
                                     const v1::ModelStatus& model) {
  ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  if (root.Get("messages").present()) {
    return OpenAiCall{"/v1/chat/completions", BodyFor(root, name, false)};
  }
  if (root.Get("prompt").present()) {
    return OpenAiCall{"/v1/completions", BodyFor(root, name, false)};
  }
  if (root.Get("input").missing()) {
    return base::InvalidArgument("one of messages, prompt and input is required");
  }
  if (!Can(model, "completion")) return OpenAiCall{"/v1/embeddings", BodyFor(root, name, false)};
  return OpenAiCall{"/v1/chat/completions", BodyFor(root, name, true)};
}

}  // namespace

Task<void> Predict(const Router& router, const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::string> name = ModelOf(exchange);
  const absl::StatusOr<v1::ModelStatus> model = FindNamed(services, name);
  if (!model.ok()) {
    co_await ReplyError(exchange, model.status(), ErrorJson);
    co_return;
  }
  if (Can(*model, "predict")) {
    co_await PredictOpaque(services, exchange, model->name());
    co_return;
  }
  absl::StatusOr<OpenAiCall> call = Translate(exchange.request.body, *name, *model);
  if (!call.ok()) {
    co_await ReplyError(exchange, call.status(), ErrorJson);
    co_return;
  }
  Request request = exchange.request;
  request.body = std::move(call->body);
  Exchange inner{request, exchange.out, exchange.record};
  const Router::Match match = router.Find("POST", call->path);
  co_await match.route->handler(inner);
}

}  // namespace conclave::gateway::ai_backend
