// Models listed, looked up, registered and removed: the verbs of 2024 and alpha, and the
// POST /v1/models of 2025, whose GET and DELETE are the OpenAI dialect's.
#include <optional>
#include <string>
#include <utility>

#include "gateway/dialects/llama_stack/errors.h"
#include "gateway/dialects/llama_stack/routes.h"
#include "gateway/dialects/openai/models_codec.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

using WriteModel = void (*)(JsonWriter& json, const v1::ModelStatus& model);

// {"identifier","llama_model","metadata","provider_id"}
void WriteModel2024(JsonWriter& json, const v1::ModelStatus& model) {
  json.BeginObject();
  json.Field("identifier", model.name());
  json.Field("llama_model", ProviderModelIdOf(model));
  json.Key("metadata");
  json.BeginObject();
  json.EndObject();
  json.Field("provider_id", ProviderIdOf(model));
  json.EndObject();
}

// The object of 2025 is OpenAI's at the same time, and has all that alpha's has.
void WriteModelAlpha(JsonWriter& json, const v1::ModelStatus& model) {
  json.Raw(openai::EncodeModel(model));
}

template <WriteModel Write>
Task<void> List(const Services& services, Exchange& exchange) {
  JsonWriter json;
  json.BeginArray();
  for (const v1::ModelStatus& model : services.models->List()) Write(json, model);
  json.EndArray();
  return ReplyJson(exchange, json.Take());
}

// The object, or null. The first clients call the parameter core_model_id.
template <WriteModel Write>
Task<void> Get(const Services& services, Exchange& exchange) {
  std::optional<std::string> name = exchange.request.Query("identifier");
  if (!name) name = exchange.request.Query("core_model_id");
  if (!name) {
    return ReplyError(exchange,
                      base::WithParam(base::InvalidArgument("identifier: required"), "identifier"),
                      ErrorJson);
  }
  const absl::StatusOr<v1::ModelStatus> model = services.models->Find(*name);
  if (!model.ok()) return ReplyJson(exchange, "null");
  JsonWriter json;
  Write(json, *model);
  return ReplyJson(exchange, json.Take());
}

absl::StatusOr<JsonDocument> ParseStored(std::string_view body) {
  base::JsonLimits limits;
  limits.allow_nul_in_strings = false;
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(body, limits));
  RETURN_IF_ERROR(document.root().ExpectObject());
  return document;
}

// Kept as text, whatever a value is.
absl::Status ReadMetadata(JsonValue metadata, WantedModel* out) {
  if (metadata.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(metadata.ExpectObject());
  metadata.ForEachMember([out](std::string_view key, JsonValue value) {
    out->metadata[std::string(key)] =
        value.is_string() ? value.AsString().value_or("") : value.ToJson();
  });
  return absl::OkStatus();
}

absl::Status ReadText(JsonValue value, std::string* out) {
  ASSIGN_OR_RETURN(std::optional<std::string> text, value.OptionalString());
  *out = std::move(text).value_or(std::string());
  return absl::OkStatus();
}

// {"model":{"identifier","llama_model","metadata","provider_id"}}
absl::StatusOr<WantedModel> Decode2024(std::string_view body) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseStored(body));
  const JsonValue model = document.root().Get("model");
  RETURN_IF_ERROR(model.ExpectObject());
  WantedModel wanted;
  ASSIGN_OR_RETURN(wanted.name, model.Get("identifier").AsString());
  ASSIGN_OR_RETURN(wanted.provider_id, model.Get("provider_id").AsString());
  RETURN_IF_ERROR(ReadText(model.Get("llama_model"), &wanted.provider_model_id));
  RETURN_IF_ERROR(ReadMetadata(model.Get("metadata"), &wanted));
  return wanted;
}

// {"model_id","provider_model_id","provider_id","metadata","model_type"}
absl::StatusOr<WantedModel> Decode2025(std::string_view body) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseStored(body));
  const JsonValue root = document.root();
  WantedModel wanted;
  ASSIGN_OR_RETURN(wanted.name, root.Get("model_id").AsString());
  RETURN_IF_ERROR(ReadText(root.Get("provider_id"), &wanted.provider_id));
  RETURN_IF_ERROR(ReadText(root.Get("provider_model_id"), &wanted.provider_model_id));
  RETURN_IF_ERROR(ReadText(root.Get("model_type"), &wanted.model_type));
  const std::string& type = wanted.model_type;
  if (!type.empty() && type != "llm" && type != "embedding") {
    return root.Get("model_type").Error("expected llm or embedding");
  }
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), &wanted));
  return wanted;
}

// What a registration answers: the model as it is served now, or as it will be.
std::string Registered(const Services& services, const WantedModel& wanted) {
  const absl::StatusOr<v1::ModelStatus> served = services.models->Find(wanted.name);
  if (served.ok()) return openai::EncodeModel(*served);
  v1::ModelStatus soon;
  soon.set_name(wanted.name);
  soon.set_state(v1::ModelStatus::STATE_LOADING);
  soon.set_created_unix(services.clock->UnixSeconds());
  soon.add_capabilities(wanted.model_type == "embedding" ? "embedding" : "completion");
  soon.mutable_details()->set_provider_id(wanted.provider_id);
  soon.mutable_details()->set_provider_model_id(wanted.provider_model_id);
  return openai::EncodeModel(soon);
}

using DecodeWanted = absl::StatusOr<WantedModel> (*)(std::string_view body);

// 2024 answers null; the wires after it, the model.
template <DecodeWanted Decode, bool kAnswersModel>
Task<void> Register(const Services& services, Exchange& exchange) {
  const absl::StatusOr<WantedModel> wanted = Decode(exchange.request.body);
  absl::Status status = wanted.status();
  if (status.ok()) status = co_await RegisterModelOf(services, exchange, *wanted);
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, kAnswersModel ? Registered(services, *wanted) : "null");
}

absl::StatusOr<std::string> DecodeName(std::string_view body) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseStored(body));
  const JsonValue model_id = document.root().Get("model_id");
  return (model_id.present() ? model_id : document.root().Get("identifier")).AsString();
}

Task<void> Unregister(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::string> name = DecodeName(exchange.request.body);
  absl::Status status = name.status();
  if (status.ok()) {
    const absl::StatusOr<v1::DeleteReply> gone =
        co_await UnregisterModel(services, exchange, *name);
    status = gone.status();
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, "null");
}

}  // namespace

void AddModelRoutes(Router& router, const Services& services) {
  const RouteOptions admin = AdminRoute();
  const auto add = [&](std::string_view method, std::string_view path, auto action,
                       const RouteOptions& options) {
    router.Add(
        method, path,
        [&services, action](Exchange& exchange) { return action(services, exchange); }, options);
  };
  add("GET", "/models/list", List<WriteModel2024>, {});
  add("GET", "/models/get", Get<WriteModel2024>, {});
  add("POST", "/models/register", Register<Decode2024, false>, admin);
  add("POST", "/models/unregister", Unregister, admin);
  add("GET", "/alpha/models/list", List<WriteModelAlpha>, {});
  add("GET", "/alpha/models/get", Get<WriteModelAlpha>, {});
  add("POST", "/alpha/models/register", Register<Decode2025, true>, admin);
  add("POST", "/alpha/models/unregister", Unregister, admin);
  add("POST", "/v1/models", Register<Decode2025, true>, admin);
  add("POST", "/models", Register<Decode2025, true>, admin);
}

}  // namespace conclave::gateway::llama_stack
