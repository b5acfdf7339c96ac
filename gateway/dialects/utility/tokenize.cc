// POST /tokenize and /detokenize: one handler for vLLM's bodies and llama-server's.
#include <limits>
#include <optional>
#include <utility>

#include "base/json.h"
#include "base/utf8.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/openai/sampling.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonValue;
using base::JsonWriter;

constexpr size_t kTokensMax = 1u << 20;

struct TokenizeBody {
  v1::TokenizeRequest request;
  bool token_strs = false;   // vLLM: the texts beside the ids
  bool with_pieces = false;  // llama-server: id and text together
};

absl::StatusOr<bool> Flag(JsonValue root, std::string_view name, bool fallback) {
  ASSIGN_OR_RETURN(const std::optional<bool> given, root.Get(name).OptionalBool());
  return given.value_or(fallback);
}

// llama-server's {"content"}, vLLM's {"messages"}, vLLM's {"prompt"}, in this order.
absl::Status ReadInput(JsonValue root, std::string_view default_system_prompt, TokenizeBody* out) {
  v1::TokenizeRequest& request = out->request;
  const JsonValue content = root.Get("content");
  if (!content.missing()) {
    ASSIGN_OR_RETURN(*request.mutable_text(), content.AsString());
    ASSIGN_OR_RETURN(const bool add_special, Flag(root, "add_special", false));
    ASSIGN_OR_RETURN(const bool parse_special, Flag(root, "parse_special", true));
    request.set_add_special(add_special);
    request.set_parse_special(parse_special);
    ASSIGN_OR_RETURN(out->with_pieces, Flag(root, "with_pieces", false));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(out->token_strs, Flag(root, "return_token_strs", false));
  if (!root.Get("messages").missing()) {
    // The template has the special tokens in it.
    RETURN_IF_ERROR(openai::RefuseFields(root, {"chat_template"}));
    return openai::ReadConversation(root, default_system_prompt, request.mutable_chat()).status();
  }
  ASSIGN_OR_RETURN(*request.mutable_text(), root.Get("prompt").AsString());
  ASSIGN_OR_RETURN(const bool add_special, Flag(root, "add_special_tokens", true));
  request.set_add_special(add_special);
  request.set_parse_special(true);
  return absl::OkStatus();
}

absl::StatusOr<TokenizeBody> DecodeTokenize(const Services& services, const Request& http) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(http.body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  TokenizeBody decoded;
  ASSIGN_OR_RETURN(std::optional<std::string> model, root.Get("model").OptionalString());
  RETURN_IF_ERROR(ReadInput(root, services.default_system_prompt, &decoded));
  ASSIGN_OR_RETURN(std::string name,
                   ChooseModel(services, http, model.value_or(std::string()), "completion"));
  decoded.request.set_model(std::move(name));
  return decoded;
}

// A piece need not be whole characters: then its bytes.
void WritePiece(JsonWriter& json, const std::string& piece) {
  if (base::IsValidUtf8(piece)) return json.String(piece);
  json.BeginArray();
  for (const char byte : piece) json.Int(static_cast<unsigned char>(byte));
  json.EndArray();
}

std::string EncodeTokens(const TokenizeBody& body, const v1::TokenizeReply& reply) {
  JsonWriter json;
  json.BeginObject();
  json.Key("tokens");
  json.BeginArray();
  for (int i = 0; i < reply.token_ids_size(); ++i) {
    if (!body.with_pieces) {
      json.Int(reply.token_ids(i));
      continue;
    }
    json.BeginObject();
    json.Field("id", reply.token_ids(i));
    json.Key("piece");
    WritePiece(json, i < reply.pieces_size() ? reply.pieces(i) : std::string());
    json.EndObject();
  }
  json.EndArray();
  json.Field("count", reply.token_ids_size());
  json.Field("max_model_len", reply.context_length());
  if (body.token_strs) {
    json.Key("token_strs");
    json.BeginArray();
    for (const std::string& piece : reply.pieces()) json.String(piece);
    json.EndArray();
  }
  json.EndObject();
  return json.Take();
}

Task<void> HandleTokenize(const Services& services, Exchange& exchange) {
  absl::StatusOr<TokenizeBody> body = DecodeTokenize(services, exchange.request);
  if (!body.ok()) {
    co_await ReplyError(exchange, body.status(), openai::ErrorJson);
    co_return;
  }
  const absl::StatusOr<v1::TokenizeReply> reply =
      co_await Tokenize(services, exchange, body->request);
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), openai::ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeTokens(*body, *reply));
}

absl::StatusOr<v1::DetokenizeRequest> DecodeDetokenize(const Services& services,
                                                       const Request& http) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(http.body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  v1::DetokenizeRequest request;
  const JsonValue tokens = root.Get("tokens");
  RETURN_IF_ERROR(tokens.ExpectArray());
  if (tokens.size() > kTokensMax) return tokens.Error("too many tokens");
  for (size_t i = 0; i < tokens.size(); ++i) {
    ASSIGN_OR_RETURN(const int64_t id, tokens.At(i).AsInt(0, std::numeric_limits<int32_t>::max()));
    request.add_token_ids(static_cast<int32_t>(id));
  }
  ASSIGN_OR_RETURN(std::optional<std::string> model, root.Get("model").OptionalString());
  ASSIGN_OR_RETURN(std::string name,
                   ChooseModel(services, http, model.value_or(std::string()), "completion"));
  request.set_model(std::move(name));
  return request;
}

Task<absl::StatusOr<v1::DetokenizeReply>> Detokenize(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::DetokenizeRequest> request = DecodeDetokenize(services, exchange.request);
  if (!request.ok()) co_return request.status();
  exchange.record.model = request->model();
  *request->mutable_meta() = MetaOf(services, exchange.request);
  Call<v1::DetokenizeReply> call = services.inference->Detokenize(
      *std::move(request), std::chrono::steady_clock::now() + services.times.store);
  co_return co_await AwaitReply(std::move(call), exchange.out);
}

// The workers' word for what this route calls tokens.
absl::Status InOwnWords(const absl::Status& status) {
  constexpr std::string_view kTheirs = "token_ids";
  if (base::ParamOf(status) != kTheirs) return status;
  std::string message(status.message());
  if (message.compare(0, kTheirs.size(), kTheirs) == 0)
    message.replace(0, kTheirs.size(), "tokens");
  return base::WithParam(
      base::WithReason(absl::Status(status.code(), message), base::ReasonOf(status)), "tokens");
}

Task<void> HandleDetokenize(const Services& services, Exchange& exchange) {
  const absl::StatusOr<v1::DetokenizeReply> reply = co_await Detokenize(services, exchange);
  if (!reply.ok()) {
    co_await ReplyError(exchange, InOwnWords(reply.status()), openai::ErrorJson);
    co_return;
  }
  JsonWriter json;
  json.BeginObject();
  json.Field("prompt", reply->text());
  json.Field("content", reply->text());
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

}  // namespace

absl::StatusOr<std::string> ChooseModel(const Services& services, const Request& request,
                                        std::string name, std::string_view capability) {
  if (name.empty() && capability == "completion") name = services.default_model;
  if (name.empty()) {
    for (const v1::ModelStatus& model : services.models->List()) {
      if (!Can(model, capability)) continue;
      if (!name.empty()) {
        return base::WithParam(
            base::InvalidArgument("model: required, because several models are served"), "model");
      }
      name = model.name();
    }
  }
  if (name.empty()) {
    return base::WithParam(base::WithReason(base::NotFound("no model of this server has the "
                                                           "capability " +
                                                           std::string(capability)),
                                            "model_not_found"),
                           "model");
  }
  if (capability == "completion") {
    ASSIGN_OR_RETURN(const v1::ModelStatus model, FindGenerator(services, request, &name));
    return model.name();
  }
  ASSIGN_OR_RETURN(const v1::ModelStatus model,
                   services.models->FindReady(name, services.waits_for_loading()));
  if (Can(model, capability)) return model.name();
  return base::WithParam(
      base::InvalidArgument("model: `" + model.name() + "` does not have the capability " +
                            std::string(capability)),
      "model");
}

Task<absl::StatusOr<v1::TokenizeReply>> Tokenize(const Services& services, Exchange& exchange,
                                                 v1::TokenizeRequest request) {
  exchange.record.model = request.model();
  *request.mutable_meta() = MetaOf(services, exchange.request);
  Call<v1::TokenizeReply> call = services.inference->Tokenize(
      std::move(request), std::chrono::steady_clock::now() + services.times.store);
  co_return co_await AwaitReply(std::move(call), exchange.out);
}

void AddTokenizeRoutes(Router& router, const Services& services) {
  openai::AddBoth(router, "POST", "/tokenize",
                  [&services](Exchange& e) { return HandleTokenize(services, e); });
  openai::AddBoth(router, "POST", "/detokenize",
                  [&services](Exchange& e) { return HandleDetokenize(services, e); });
}

}  // namespace conclave::gateway::utility
