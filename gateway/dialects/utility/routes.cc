#include "gateway/dialects/utility/routes.h"

#include <utility>

#include "base/json.h"
#include "gateway/dialects/coverage_text.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/openapi.h"
#include "gateway/http/error_response.h"
#include "gateway/upstream/readiness.h"

namespace conclave::gateway::utility {
namespace {

constexpr std::string_view kRetrySeconds = "2";

Task<void> Readyz(const Services& services, Exchange& exchange) {
  const Readiness state = ReadinessOf(services);
  base::JsonWriter json;
  json.BeginObject();
  json.Field("status", state.ready() ? std::string_view("ok") : state.why());
  json.Key("models");
  json.BeginObject();
  json.Field("ready", state.models_ready);
  json.Field("loading", state.models_loading);
  json.EndObject();
  if (state.store_wanted) json.Field("store", state.store_connected ? "connected" : "unreachable");
  json.EndObject();
  Response response;
  response.status = state.ready() ? 200 : 503;
  response.body = json.Take();
  if (!state.ready()) response.headers.emplace_back("Retry-After", kRetrySeconds);
  return exchange.out.Reply(std::move(response));
}

// llama-server's shape: 200 {"status":"ok"}, 503 with an error object and what is being loaded.
Task<void> Health(const Services& services, Exchange& exchange) {
  const Readiness state = ReadinessOf(services);
  const bool seed = exchange.request.profile == CompatProfile::kLsSeed;
  if (state.ready()) {
    return ReplyJson(exchange, seed ? R"({"status":"OK"})" : R"({"status":"ok"})");
  }
  base::JsonWriter json;
  json.BeginObject();
  json.Key("error");
  json.BeginObject();
  json.Field("code", 503);
  json.Field("message", state.why());
  json.Field("type", "unavailable_error");
  json.EndObject();
  if (state.models_ready == 0 && state.models_loading > 0) {
    json.Key("loading");
    json.BeginObject();
    json.Field("models", state.models_loading);
    json.Field("progress", state.load_progress);
    json.EndObject();
  }
  json.EndObject();
  Response response;
  response.status = 503;
  response.body = json.Take();
  response.headers.emplace_back("Retry-After", kRetrySeconds);
  return exchange.out.Reply(std::move(response));
}

Task<void> Ping(const Services& services, Exchange& exchange) {
  Response response;
  response.status = ReadinessOf(services).ready() ? 200 : 503;
  return exchange.out.Reply(std::move(response));
}

Task<void> Version(const Services& services, Exchange& exchange) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("version", CONCLAVE_VERSION);
  json.Field("commit", services.commit);
  json.Key("api");
  json.BeginObject();
  for (const Dialect& dialect : AllDialects()) {
    json.Field(dialect.name, dialect.coverage().version);
  }
  json.EndObject();
  json.EndObject();
  return ReplyJson(exchange, json.Take());
}

Task<void> MetricsText(const Services& services, Exchange& exchange) {
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = services.metrics_text();
  return exchange.out.Reply(std::move(response));
}

}  // namespace

void AddRoutes(Router& router, const Services& services) {
  RouteOptions open;
  open.open = true;
  open.body_bytes_max = 0;
  router.Add(
      "GET", "/livez", [](Exchange& e) { return ReplyJson(e, R"({"status":"ok"})"); }, open);
  router.Add(
      "GET", "/readyz", [&services](Exchange& e) { return Readyz(services, e); }, open);
  for (const std::string_view path : {"/health", "/v1/health"}) {
    router.Add(
        "GET", path, [&services](Exchange& e) { return Health(services, e); }, open);
  }
  router.Add(
      "GET", "/ping", [&services](Exchange& e) { return Ping(services, e); }, open);
  for (const std::string_view path : {"/version", "/v1/version"}) {
    router.Add(
        "GET", path, [&services](Exchange& e) { return Version(services, e); }, open);
  }
  // Names of models and routes are in it: with keys in force, it needs one. The probe port does
  // not.
  RouteOptions guarded;
  guarded.body_bytes_max = 0;
  openai::AddBoth(
      router, "GET", "/openapi.json",
      [&router](Exchange& e) { return ReplyJson(e, OpenApiJson(router, CONCLAVE_VERSION)); },
      guarded);
  AddTokenizeRoutes(router, services);
  AddRenderRoutes(router, services);
  AddTokenizerInfoRoutes(router, services);
  AddInfillRoutes(router, services);
  AddRerankRoutes(router, services);
  AddPropsRoutes(router, services);
  AddModelEventRoutes(router, services);
  AddSystemInfoRoutes(router, services);
  openai::AddBoth(
      router, "GET", "/capabilities",
      [&services](Exchange& e) { return ReplyJson(e, CapabilitiesJson(services.models->List())); },
      guarded);
  router.Add(
      "GET", "/metrics", [&services](Exchange& e) { return MetricsText(services, e); }, guarded);
}

}  // namespace conclave::gateway::utility
