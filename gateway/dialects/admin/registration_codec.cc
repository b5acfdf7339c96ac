#include "gateway/dialects/admin/registration_codec.h"

#include <map>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::admin {
namespace {

using base::JsonValue;
using base::JsonWriter;

absl::Status ReadText(JsonValue root, std::string_view name, std::string* out) {
  ASSIGN_OR_RETURN(std::optional<std::string> text, root.Get(name).OptionalString());
  if (text) *out = *std::move(text);
  return absl::OkStatus();
}

absl::Status ReadAliases(JsonValue aliases, v1::ModelRegistration* to) {
  if (aliases.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(aliases.ExpectArray());
  for (size_t i = 0; i < aliases.size(); ++i) {
    ASSIGN_OR_RETURN(std::string alias, aliases.At(i).AsString());
    to->add_aliases(std::move(alias));
  }
  return absl::OkStatus();
}

absl::Status ReadMetadata(JsonValue metadata, v1::ModelRegistration* to) {
  if (metadata.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(metadata.ExpectObject());
  absl::Status status;
  metadata.ForEachMember([&](std::string_view key, JsonValue value) {
    absl::StatusOr<std::string> text = value.AsString();
    if (!text.ok()) {
      status = text.status();
    } else {
      (*to->mutable_metadata())[std::string(key)] = *std::move(text);
    }
  });
  return status;
}

void WriteIfGiven(JsonWriter& json, std::string_view name, const std::string& text) {
  if (!text.empty()) json.Field(name, text);
}

void WriteDerived(JsonWriter& json, const v1::DerivedModel& derived) {
  json.Key("derived");
  json.BeginObject();
  WriteIfGiven(json, "base", derived.base());
  if (derived.has_system()) json.Field("system", derived.system());
  if (derived.has_template_()) json.Field("template", derived.template_());
  if (!derived.parameters_json().empty()) json.RawField("parameters", derived.parameters_json());
  json.Field("messages", derived.messages_size());
  WriteIfGiven(json, "license", derived.license());
  json.EndObject();
}

void WriteRegistration(JsonWriter& json, const v1::ModelRegistration& registration) {
  json.BeginObject();
  json.Field("name", registration.name());
  json.Field("object", "model.registration");
  json.Field("created", registration.created_at());
  json.Key("aliases");
  json.BeginArray();
  for (const std::string& alias : registration.aliases()) json.String(alias);
  json.EndArray();
  WriteIfGiven(json, "backend", registration.backend());
  WriteIfGiven(json, "path", registration.path());
  WriteIfGiven(json, "provider_id", registration.provider_id());
  WriteIfGiven(json, "provider_model_id", registration.provider_model_id());
  if (!registration.config_json().empty()) json.RawField("config", registration.config_json());
  if (registration.has_derived()) WriteDerived(json, registration.derived());
  json.Field("model_type", registration.model_type().empty() ? "llm" : registration.model_type());
  json.Key("metadata");
  json.BeginObject();
  const std::map<std::string, std::string> sorted(registration.metadata().begin(),
                                                  registration.metadata().end());
  for (const auto& [key, value] : sorted) json.Field(key, value);
  json.EndObject();
  json.EndObject();
}

void WriteServed(JsonWriter& json, const v1::ModelStatus& model) {
  json.BeginObject();
  json.Field("name", model.name());
  json.Field("state", StateWord(model.state()));
  if (model.state() == v1::ModelStatus::STATE_LOADING) json.Field("progress", model.progress());
  WriteIfGiven(json, "error", model.error());
  WriteIfGiven(json, "backend", model.details().backend());
  json.Field("registered", !model.registration().empty());
  json.EndObject();
}

}  // namespace

std::string_view StateWord(v1::ModelStatus::State state) {
  switch (state) {
    case v1::ModelStatus::STATE_READY:
      return "ready";
    case v1::ModelStatus::STATE_FAILED:
      return "failed";
    case v1::ModelStatus::STATE_UNLOADING:
      return "unloading";
    case v1::ModelStatus::STATE_UNLOADED:
      return "unloaded";
    default:
      return "loading";
  }
}

absl::StatusOr<v1::RegisterModelRequest> DecodeRegistration(std::string_view body) {
  base::JsonLimits limits;
  limits.allow_nul_in_strings = false;
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body, limits));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  v1::RegisterModelRequest request;
  v1::ModelRegistration* to = request.mutable_registration();
  ASSIGN_OR_RETURN(*to->mutable_name(), root.Get("name").AsString());
  RETURN_IF_ERROR(ReadAliases(root.Get("aliases"), to));
  RETURN_IF_ERROR(ReadText(root, "backend", to->mutable_backend()));
  RETURN_IF_ERROR(ReadText(root, "path", to->mutable_path()));
  RETURN_IF_ERROR(ReadText(root, "provider_id", to->mutable_provider_id()));
  RETURN_IF_ERROR(ReadText(root, "provider_model_id", to->mutable_provider_model_id()));
  RETURN_IF_ERROR(ReadText(root, "model_type", to->mutable_model_type()));
  const JsonValue config = root.Get("config");
  if (!config.missing()) {
    RETURN_IF_ERROR(config.ExpectObject());
    to->set_config_json(config.ToJson());
  }
  const JsonValue derived = root.Get("derived");
  if (!derived.missing()) {
    RETURN_IF_ERROR(derived.ExpectObject());
    RETURN_IF_ERROR(ReadText(derived, "base", to->mutable_derived()->mutable_base()));
    RETURN_IF_ERROR(ReadDerived(derived, to->mutable_derived()));
  }
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), to));
  ASSIGN_OR_RETURN(const std::optional<bool> replace, root.Get("replace").OptionalBool());
  request.set_replace(replace.value_or(false));
  return request;
}

std::string EncodeRegistration(const v1::ModelRegistration& registration) {
  JsonWriter json;
  WriteRegistration(json, registration);
  return json.Take();
}

std::string EncodeModels(const v1::ListRegistrationsReply& registered,
                         const std::vector<v1::ModelStatus>& served) {
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "list");
  json.Key("registered");
  json.BeginArray();
  for (const auto& registration : registered.registrations()) WriteRegistration(json, registration);
  json.EndArray();
  json.Key("served");
  json.BeginArray();
  for (const v1::ModelStatus& model : served) WriteServed(json, model);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

std::string EncodeLogs(const v1::GetModelLogsReply& logs) {
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "list");
  json.Key("data");
  json.BeginArray();
  for (const v1::LogEntry& entry : logs.entries()) {
    json.BeginObject();
    json.Field("ts_ms", entry.ts_unix_ms());
    WriteLogEntry(json, entry);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::admin
