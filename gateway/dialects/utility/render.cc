// What a model would be given: /apply-template, vLLM's render routes, and its length, input_tokens.
#include <limits>
#include <optional>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonValue;
using base::JsonWriter;
using Encode = std::string (*)(const v1::TokenizeReply& reply);

absl::StatusOr<v1::TokenizeRequest> DecodeChat(const Services& services, JsonValue root) {
  v1::TokenizeRequest request;
  RETURN_IF_ERROR(
      openai::ReadConversation(root, services.default_system_prompt, request.mutable_chat())
          .status());
  return request;
}

// Tokenised as POST /v1/completions does it.
absl::StatusOr<v1::TokenizeRequest> DecodeText(const Services&, JsonValue root) {
  v1::TokenizeRequest request;
  ASSIGN_OR_RETURN(*request.mutable_text(), root.Get("prompt").AsString());
  request.set_add_special(true);
  return request;
}

absl::StatusOr<v1::TokenizeRequest> DecodeBody(
    const Services& services, const Request& http,
    absl::StatusOr<v1::TokenizeRequest> (*decode)(const Services&, JsonValue)) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(http.body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  ASSIGN_OR_RETURN(v1::TokenizeRequest request, decode(services, root));
  ASSIGN_OR_RETURN(std::optional<std::string> model, root.Get("model").OptionalString());
  ASSIGN_OR_RETURN(std::string name,
                   ChooseModel(services, http, model.value_or(std::string()), "completion"));
  request.set_model(std::move(name));
  return request;
}

Task<void> Answer(const Services& services, Exchange& exchange,
                  absl::StatusOr<v1::TokenizeRequest> request, Encode encode) {
  absl::Status status = request.status();
  if (status.ok()) {
    const std::string text = request->has_text() ? request->text() : std::string();
    absl::StatusOr<v1::TokenizeReply> reply =
        co_await Tokenize(services, exchange, *std::move(request));
    status = reply.status();
    if (status.ok()) {
      if (reply->prompt().empty()) reply->set_prompt(text);
      co_await ReplyJson(exchange, encode(*reply));
      co_return;
    }
  }
  co_await ReplyError(exchange, status, openai::ErrorJson);
}

std::string EncodePrompt(const v1::TokenizeReply& reply) {
  JsonWriter json;
  json.BeginObject();
  json.Field("prompt", reply.prompt());
  json.EndObject();
  return json.Take();
}

std::string EncodeRendered(const v1::TokenizeReply& reply) {
  JsonWriter json;
  json.BeginObject();
  json.Field("prompt", reply.prompt());
  json.Key("prompt_token_ids");
  json.BeginArray();
  for (const int32_t id : reply.token_ids()) json.Int(id);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

std::string EncodeCount(const v1::TokenizeReply& reply) {
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "response.input_tokens");
  json.Field("input_tokens", reply.token_ids_size());
  json.EndObject();
  return json.Take();
}

}  // namespace

void AddRenderRoutes(Router& router, const Services& services) {
  const auto add = [&](std::string_view path, auto decode, Encode encode) {
    openai::AddBoth(router, "POST", path, [&services, decode, encode](Exchange& exchange) {
      return Answer(services, exchange, DecodeBody(services, exchange.request, decode), encode);
    });
  };
  add("/apply-template", DecodeChat, EncodePrompt);
  add("/chat/completions/render", DecodeChat, EncodeRendered);
  add("/completions/render", DecodeText, EncodeRendered);
  add("/chat/completions/input_tokens", DecodeChat, EncodeCount);
}

}  // namespace conclave::gateway::utility
