#include "gateway/dialects/admin/routes.h"

#include <charconv>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/admin/registration_codec.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::admin {
namespace {

using openai::ErrorJson;

constexpr int kLogEntriesMax = 10'000;

base::SteadyTime Deadline(const Services& services) {
  return std::chrono::steady_clock::now() + services.times.store;
}

Task<void> List(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::ListRegistrationsReply> registered = v1::ListRegistrationsReply();
  if (services.store != nullptr) {
    Call<v1::ListRegistrationsReply> call =
        services.store->ListRegistrations({}, Deadline(services));
    registered = co_await AwaitReply(std::move(call), exchange.out);
  }
  if (!registered.ok()) {
    co_await ReplyError(exchange, registered.status(), ErrorJson);
    co_return;
  }
  const std::vector<v1::ModelStatus> served = co_await ModelsNow(services, exchange);
  co_await ReplyJson(exchange, EncodeModels(*registered, served));
}

Task<void> Register(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::RegisterModelRequest> request = DecodeRegistration(exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  const absl::StatusOr<v1::ModelRegistration> made =
      co_await RegisterModel(services, exchange, *std::move(request));
  if (!made.ok()) {
    co_await ReplyError(exchange, made.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeRegistration(*made));
}

Task<void> Unregister(const Services& services, Exchange& exchange) {
  const absl::StatusOr<v1::DeleteReply> gone =
      co_await UnregisterModel(services, exchange, std::string(exchange.request.Param("model")));
  if (!gone.ok()) {
    co_await ReplyError(exchange, gone.status(), ErrorJson);
    co_return;
  }
  base::JsonWriter json;
  json.BeginObject();
  json.Field("name", gone->id());
  json.Field("object", "model.registration");
  json.Field("deleted", true);
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

absl::StatusOr<int> ReadLimit(const Request& request) {
  const std::optional<std::string> text = request.Query("limit");
  if (!text) return 0;
  int limit = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), limit);
  if (error != std::errc() || end != text->data() + text->size() || limit < 1 ||
      limit > kLogEntriesMax) {
    return base::InvalidArgument("limit: expected an integer from 1 to 10000");
  }
  return limit;
}

Task<void> GetLogs(const Services& services, Exchange& exchange) {
  const absl::StatusOr<int> limit = ReadLimit(exchange.request);
  if (!limit.ok()) {
    co_await ReplyError(exchange, limit.status(), ErrorJson);
    co_return;
  }
  v1::GetModelLogsRequest request;
  request.set_name(std::string(exchange.request.Param("model")));
  request.set_limit(*limit);
  Call<v1::GetModelLogsReply> call =
      services.workers->GetModelLogs(std::move(request), Deadline(services));
  const absl::StatusOr<v1::GetModelLogsReply> logs =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!logs.ok()) {
    co_await ReplyError(exchange, logs.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeLogs(*logs));
}

Task<void> ClearLogs(const Services& services, Exchange& exchange) {
  v1::ClearModelLogsRequest request;
  request.set_name(std::string(exchange.request.Param("model")));
  Call<v1::ClearModelLogsReply> call =
      services.workers->ClearModelLogs(std::move(request), Deadline(services));
  const absl::StatusOr<v1::ClearModelLogsReply> cleared =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!cleared.ok()) {
    co_await ReplyError(exchange, cleared.status(), ErrorJson);
    co_return;
  }
  base::JsonWriter json;
  json.BeginObject();
  json.Field("cleared", cleared->cleared());
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

}  // namespace

void AddRoutes(Router& router, const Services& services) {
  const auto add = [&](std::string_view method, std::string_view path, auto handle) {
    router.Add(
        method, path, [&services, handle](Exchange& e) { return handle(services, e); },
        AdminRoute());
  };
  add("GET", "/admin/models", List);
  add("POST", "/admin/models", Register);
  add("DELETE", "/admin/models/{model...}", Unregister);
  AddLifeRoutes(router, services);
  AddExpertRoutes(router, services);
  add("GET", "/admin/models/{model}/logs", GetLogs);
  add("DELETE", "/admin/models/{model}/logs", ClearLogs);
}

}  // namespace conclave::gateway::admin
