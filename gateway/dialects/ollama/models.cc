// GET /api/tags, GET /api/ps, POST /api/show.
#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/ollama/create_request.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/modelfile.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::ollama {
namespace {

using base::JsonWriter;

// What Ollama says of a model that stays.
constexpr std::string_view kNeverExpires = "2318-01-01T00:00:00.000000000Z";

void WriteDetails(JsonWriter& json, const v1::ModelStatus& model) {
  const v1::ModelDetails& details = model.details();
  json.Key("details");
  json.BeginObject();
  json.Field("parent_model", details.derived().base());
  json.Field("format", details.format());
  json.Field("family", details.family());
  json.Key("families");
  json.BeginArray();
  if (!details.family().empty()) json.String(details.family());
  json.EndArray();
  json.Field("parameter_size", details.parameter_size());
  json.Field("quantization_level", details.quantization());
  json.Field("context_length", model.context_length());
  if (details.embedding_length() > 0) json.Field("embedding_length", details.embedding_length());
  json.EndObject();
}

void WriteCapabilities(JsonWriter& json, const v1::ModelStatus& model) {
  json.Key("capabilities");
  json.BeginArray();
  for (const std::string& word : model.capabilities()) json.String(word);
  json.EndArray();
}

// The hex of "sha256:<hex>": this wire has no prefix here.
std::string DigestOf(const v1::ModelStatus& model) {
  const std::string& digest = model.details().digest();
  const size_t colon = digest.find(':');
  return colon == std::string::npos ? digest : digest.substr(colon + 1);
}

void WriteEntryHead(JsonWriter& json, const v1::ModelStatus& model) {
  json.Field("name", Tagged(model.name()));
  json.Field("model", Tagged(model.name()));
}

std::string EncodeTags(const std::vector<v1::ModelStatus>& models) {
  JsonWriter json;
  json.BeginObject();
  json.Key("models");
  json.BeginArray();
  for (const v1::ModelStatus& model : models) {
    json.BeginObject();
    WriteEntryHead(json, model);
    json.Field("modified_at", Rfc3339(model.created_unix() * 1000));
    json.Field("size", model.details().size_bytes());
    json.Field("digest", DigestOf(model));
    WriteDetails(json, model);
    WriteCapabilities(json, model);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

std::string EncodePs(const std::vector<v1::ModelStatus>& models) {
  JsonWriter json;
  json.BeginObject();
  json.Key("models");
  json.BeginArray();
  for (const v1::ModelStatus& model : models) {
    if (model.state() != v1::ModelStatus::STATE_READY) continue;
    json.BeginObject();
    WriteEntryHead(json, model);
    json.Field("size", model.details().memory_bytes());
    json.Field("digest", DigestOf(model));
    WriteDetails(json, model);
    json.Field("expires_at", model.has_expires_unix_ms() ? Rfc3339(model.expires_unix_ms())
                                                         : std::string(kNeverExpires));
    json.Field("size_vram", model.details().device_bytes());
    json.Field("context_length", model.context_length());
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

// What is said in front of every conversation.
void WriteMessages(JsonWriter& json, const v1::DerivedModel& derived) {
  if (derived.messages().empty()) return;
  json.Key("messages");
  json.BeginArray();
  for (const v1::ChatMessage& message : derived.messages()) {
    json.BeginObject();
    json.Field("role", RoleWord(message.role()));
    json.Field("content", TextOf(message));
    json.EndObject();
  }
  json.EndArray();
}

std::string EncodeShow(const v1::ModelStatus& model) {
  const v1::ModelDetails& details = model.details();
  JsonWriter json;
  json.BeginObject();
  json.Field("license", details.license());
  json.Field("modelfile", Modelfile(model));
  json.Field("parameters", ParametersText(details.derived().parameters_json()));
  json.Field("template", details.chat_template());
  if (details.derived().has_system()) json.Field("system", details.derived().system());
  WriteDetails(json, model);
  WriteMessages(json, details.derived());
  json.Key("model_info");
  json.BeginObject();
  const std::map<std::string, std::string> sorted(details.metadata().begin(),
                                                  details.metadata().end());
  for (const auto& [key, value] : sorted) json.RawField(key, value);
  json.EndObject();
  WriteCapabilities(json, model);
  json.Field("modified_at", Rfc3339(model.created_unix() * 1000));
  json.EndObject();
  return json.Take();
}

absl::StatusOr<std::string> DecodeShow(const Services& services, const std::string& body) {
  ASSIGN_OR_RETURN(const std::string name, DecodeName(body));
  return ResolveModel(*services.models, name);
}

Task<void> Show(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::string> name = DecodeShow(services, exchange.request.body);
  if (!name.ok()) {
    co_await ReplyError(exchange, name.status(), ErrorJson);
    co_return;
  }
  Call<v1::ListModelsReply> call =
      services.models->Describe(*name, std::chrono::steady_clock::now() + services.times.store);
  const absl::StatusOr<v1::ListModelsReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), ErrorJson);
    co_return;
  }
  const auto& models = reply->models();
  const auto found = std::find_if(models.begin(), models.end(), [&](const v1::ModelStatus& model) {
    return model.name() == *name;
  });
  if (found == models.end()) {
    co_await ReplyError(exchange, base::NotFound("model '" + *name + "' not found"), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeShow(*found));
}

Task<void> Ps(const Services& services, Exchange& exchange) {
  const std::vector<v1::ModelStatus> models = co_await ModelsNow(services, exchange);
  co_await ReplyJson(exchange, EncodePs(models));
}

}  // namespace

void AddModelRoutes(Router& router, const Services& services) {
  router.Add("GET", "/api/tags", [&services](Exchange& exchange) {
    return ReplyJson(exchange, EncodeTags(services.models->List()));
  });
  router.Add("GET", "/api/ps", [&services](Exchange& exchange) { return Ps(services, exchange); });
  router.Add(
      "POST", "/api/show", [&services](Exchange& exchange) { return Show(services, exchange); },
      AnyContentType());
}

}  // namespace conclave::gateway::ollama
