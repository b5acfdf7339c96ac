// getlogs, cleanlogs, addmodel.
#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/ai_backend/errors.h"
#include "gateway/dialects/ai_backend/query.h"
#include "gateway/dialects/ai_backend/routes.h"
#include "gateway/dialects/registry.h"
#include "gateway/dialects/timestamps.h"
#include "gateway/http/ascii.h"

namespace conclave::gateway::ai_backend {
namespace {

using base::JsonWriter;
using std::chrono::steady_clock;

// [{"ts","level","msg","fields"}]
std::string EncodeLogs(const v1::GetModelLogsReply& logs) {
  JsonWriter json;
  json.BeginArray();
  for (const v1::LogEntry& entry : logs.entries()) {
    json.BeginObject();
    json.Field("ts", Rfc3339(entry.ts_unix_ms()));
    WriteLogEntry(json, entry);
    json.EndObject();
  }
  json.EndArray();
  return json.Take();
}

struct ModelType {
  std::string_view word;  // lowercase
  std::string_view provider_type;
};
constexpr ModelType kTypes[] = {
    {"httpmodel", "remote::http"},
    {"subprocessmodel", "subprocess"},
};

const ModelType* FindType(std::string_view word) {
  const std::string lower = Lowercase(word);
  for (const ModelType& type : kTypes) {
    if (type.word == lower) return &type;
  }
  return nullptr;
}

std::string ValueOf(const std::map<std::string, std::string>& query, const std::string& name) {
  const auto found = query.find(name);
  return found == query.end() ? std::string() : found->second;
}

// The provider of the type that serves the destination, or may; with `wanted`, that one.
const v1::Provider* Choose(const v1::ListProvidersReply& providers, const ModelType& type,
                           const std::string& wanted, const std::string& destination) {
  const v1::Provider* best = nullptr;
  for (const v1::Provider& provider : providers.providers()) {
    if (provider.provider_type() != type.provider_type) continue;
    if (!wanted.empty() && provider.provider_id() != wanted) continue;
    const auto& models = provider.models();
    if (std::find(models.begin(), models.end(), destination) != models.end()) return &provider;
    if (best == nullptr || (provider.open_ended() && !best->open_ended())) best = &provider;
  }
  return best;
}

std::string EncodeAdded(const WantedModel& model, const ModelType& type) {
  JsonWriter json;
  json.BeginObject();
  json.Field("id", model.name);
  json.Field("type", type.word);
  json.Field("dest", model.provider_model_id);
  json.Field("provider_id", model.provider_id);
  json.EndObject();
  return json.Take();
}

Task<absl::StatusOr<v1::GetModelLogsReply>> AskLogs(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::string> name = ModelOf(exchange);
  if (!name.ok()) co_return name.status();
  v1::GetModelLogsRequest request;
  request.set_name(*name);
  Call<v1::GetModelLogsReply> call = services.workers->GetModelLogs(
      std::move(request), steady_clock::now() + services.times.store);
  co_return co_await AwaitReply(std::move(call), exchange.out);
}

Task<absl::StatusOr<v1::ClearModelLogsReply>> ClearLogs(const Services& services,
                                                        Exchange& exchange) {
  const absl::StatusOr<std::string> name = ModelOf(exchange);
  if (!name.ok()) co_return name.status();
  v1::ClearModelLogsRequest request;
  request.set_name(*name);
  Call<v1::ClearModelLogsReply> call = services.workers->ClearModelLogs(
      std::move(request), steady_clock::now() + services.times.store);
  co_return co_await AwaitReply(std::move(call), exchange.out);
}

Task<absl::StatusOr<std::string>> Add(const Services& services, Exchange& exchange) {
  const std::map<std::string, std::string> query = ParseQuery(exchange.request.head.query);
  const absl::StatusOr<std::string> name = ModelOf(exchange);
  if (!name.ok()) co_return name.status();
  const ModelType* const type = FindType(ValueOf(query, "type"));
  if (type == nullptr) {
    co_return base::InvalidArgument("type: expected httpmodel or subprocessmodel");
  }
  WantedModel wanted;
  wanted.name = *name;
  wanted.provider_model_id = ValueOf(query, "dest");
  if (wanted.provider_model_id.empty()) co_return base::InvalidArgument("dest: required");
  const absl::StatusOr<v1::ListProvidersReply> providers =
      co_await AskProviders(services, exchange, "");
  if (!providers.ok()) co_return providers.status();
  const v1::Provider* const provider =
      Choose(*providers, *type, ValueOf(query, "provider"), wanted.provider_model_id);
  if (provider == nullptr) {
    co_return base::InvalidArgument("no provider of the type " + std::string(type->provider_type) +
                                    " is configured");
  }
  wanted.provider_id = provider->provider_id();
  const absl::Status status = co_await RegisterModelOf(services, exchange, wanted);
  if (!status.ok()) co_return status;
  co_return EncodeAdded(wanted, *type);
}

}  // namespace

Task<void> GetLogs(const Services& services, Exchange& exchange) {
  const absl::StatusOr<v1::GetModelLogsReply> logs = co_await AskLogs(services, exchange);
  if (!logs.ok()) {
    co_await ReplyError(exchange, logs.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeLogs(*logs));
}

Task<void> CleanLogs(const Services& services, Exchange& exchange) {
  const absl::StatusOr<v1::ClearModelLogsReply> reply = co_await ClearLogs(services, exchange);
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), ErrorJson);
    co_return;
  }
  JsonWriter json;
  json.BeginObject();
  json.Field("cleared", reply->cleared());
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

// ?id=NAME&type=httpmodel|subprocessmodel&dest=…, and provider= where several could take it.
Task<void> AddModel(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::string> added = co_await Add(services, exchange);
  if (!added.ok()) {
    co_await ReplyError(exchange, added.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, *added);
}

}  // namespace conclave::gateway::ai_backend
