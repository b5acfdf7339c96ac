// What a client asks of a server about itself: its providers, its routes, its health.
#include <map>
#include <string>
#include <vector>

#include "gateway/dialects/llama_stack/errors.h"
#include "gateway/dialects/llama_stack/routes.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonWriter;

constexpr std::string_view kInference = "inference";

void WriteProvider(JsonWriter& json, const v1::Provider& provider) {
  json.Field("provider_id", provider.provider_id());
  json.Field("provider_type", provider.provider_type());
}

// {"inference":[{"provider_id","provider_type"}]}: declared as one for each API, and a list of them
// from the first server on.
std::string EncodeByApi(const v1::ListProvidersReply& providers) {
  JsonWriter json;
  json.BeginObject();
  json.Key(kInference);
  json.BeginArray();
  for (const v1::Provider& provider : providers.providers()) {
    json.BeginObject();
    WriteProvider(json, provider);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

// A provider's configuration is its worker's: addresses and keys are nobody else's business.
void WriteInfo(JsonWriter& json, const v1::Provider& provider) {
  json.BeginObject();
  json.Field("api", kInference);
  WriteProvider(json, provider);
  json.Key("config");
  json.BeginObject();
  json.EndObject();
  json.Key("health");
  json.BeginObject();
  const bool asked = provider.health() != v1::Provider::HEALTH_UNSPECIFIED;
  const bool ok = provider.health() == v1::Provider::HEALTH_OK;
  json.Field("status", !asked ? "Not Implemented" : ok ? "OK" : "Error");
  if (asked && !ok) json.Field("message", provider.health_message());
  json.EndObject();
  json.EndObject();
}

std::string EncodeAll(const v1::ListProvidersReply& providers) {
  JsonWriter json;
  json.BeginObject();
  json.Key("data");
  json.BeginArray();
  for (const v1::Provider& provider : providers.providers()) WriteInfo(json, provider);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

using EncodeProviders = std::string (*)(const v1::ListProvidersReply& providers);

template <EncodeProviders Encode>
Task<void> ListProviders(const Services& services, Exchange& exchange) {
  const absl::StatusOr<v1::ListProvidersReply> providers =
      co_await AskProviders(services, exchange, "");
  if (!providers.ok()) {
    co_await ReplyError(exchange, providers.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, Encode(*providers));
}

Task<void> GetProvider(const Services& services, Exchange& exchange) {
  const std::string id(exchange.request.Param("provider"));
  const absl::StatusOr<v1::ListProvidersReply> providers =
      co_await AskProviders(services, exchange, id);
  if (providers.ok()) {
    for (const v1::Provider& provider : providers->providers()) {
      if (provider.provider_id() != id) continue;
      JsonWriter json;
      WriteInfo(json, provider);
      co_await ReplyJson(exchange, json.Take());
      co_return;
    }
  }
  const absl::Status status =
      providers.ok() ? base::NotFound("Provider `" + id + "` not found") : providers.status();
  co_await ReplyError(exchange, status, ErrorJson);
}

void WriteRoute(JsonWriter& json, const Route& route) {
  json.BeginObject();
  json.Field("route", route.pattern);
  json.Field("method", route.method);
  json.Key("provider_types");
  json.BeginArray();
  json.String(kInlineProviderType);
  json.EndArray();
  json.EndObject();
}

// The first word of a path, without a prefix: "/v1/models/{model...}" → "models".
std::string ApiOf(std::string_view pattern) {
  for (const std::string_view prefix : {"/v1/", "/alpha/"}) {
    if (pattern.substr(0, prefix.size()) == prefix) pattern.remove_prefix(prefix.size() - 1);
  }
  pattern.remove_prefix(1);
  return std::string(pattern.substr(0, pattern.find('/')));
}

// {api:[{"route","method","provider_types"}]}
std::string RoutesByApi(const Router& router) {
  std::map<std::string, std::vector<const Route*>> by_api;
  for (const Route* route : router.routes()) by_api[ApiOf(route->pattern)].push_back(route);
  JsonWriter json;
  json.BeginObject();
  for (const auto& [api, routes] : by_api) {
    json.Key(api.empty() ? std::string_view("root") : api);
    json.BeginArray();
    for (const Route* route : routes) WriteRoute(json, *route);
    json.EndArray();
  }
  json.EndObject();
  return json.Take();
}

std::string AllRoutes(const Router& router) {
  JsonWriter json;
  json.BeginObject();
  json.Key("data");
  json.BeginArray();
  for (const Route* route : router.routes()) WriteRoute(json, *route);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

}  // namespace

void AddInspectRoutes(Router& router, const Services& services) {
  const auto add = [&](std::string_view path, auto action) {
    router.Add("GET", path,
               [&services, action](Exchange& exchange) { return action(services, exchange); });
  };
  for (const char* const path : {"/providers/list", "/alpha/providers/list"}) {
    add(path, ListProviders<EncodeByApi>);
  }
  for (const char* const path : {"/v1/providers", "/providers"}) {
    add(path, ListProviders<EncodeAll>);
  }
  for (const char* const path : {"/v1/providers/{provider}", "/providers/{provider}"}) {
    add(path, GetProvider);
  }
  for (const char* const path : {"/routes/list", "/alpha/routes/list"}) {
    router.Add("GET", path, [&router](Exchange& e) { return ReplyJson(e, RoutesByApi(router)); });
  }
  for (const char* const path : {"/v1/inspect/routes", "/inspect/routes"}) {
    router.Add("GET", path, [&router](Exchange& e) { return ReplyJson(e, AllRoutes(router)); });
  }
  RouteOptions open;
  open.open = true;
  open.body_bytes_max = 0;
  router.Add(
      "GET", "/alpha/health", [](Exchange& e) { return ReplyJson(e, R"({"status":"OK"})"); }, open);
}

}  // namespace conclave::gateway::llama_stack
