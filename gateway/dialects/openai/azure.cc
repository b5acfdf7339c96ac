// The same routes where Azure has them. /openai/* (with ?api-version=) and /openai/v1/* are second
// paths of all; below /openai/deployments/{deployment} the path names the model.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "gateway/dialects/openai/coverage.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::openai {
namespace {

constexpr std::string_view kVersion = "/v1";
constexpr std::string_view kAzure = "/openai";

// What is no object is left to the decoder to refuse.
std::string WithModel(const std::string& body, std::string_view model) {
  const auto document = base::JsonDocument::Parse(body);
  if (!document.ok() || !document->root().is_object()) return body;
  base::JsonWriter json;
  json.BeginObject();
  json.Field("model", model);
  document->root().ForEachMember([&json](std::string_view name, base::JsonValue value) {
    if (name != "model") json.RawField(name, value.ToJson());
  });
  json.EndObject();
  return json.Take();
}

Task<void> HandleDeployed(const Handler& handler, Exchange& exchange) {
  Request request = exchange.request;
  request.body = WithModel(request.body, request.Param("deployment"));
  Exchange inner{request, exchange.out, exchange.record};
  co_await handler(inner);
}

}  // namespace

void AddAzureRoutes(Router& router) {
  std::vector<Route> routes;
  for (const Route* route : router.routes()) {
    if (route->pattern.substr(0, kVersion.size() + 1) == "/v1/") routes.push_back(*route);
  }
  for (const Route& route : routes) {
    const std::string path = route.pattern.substr(kVersion.size());
    router.Add(route.method, std::string(kAzure) + route.pattern, route.handler, route.options);
    router.Add(route.method, std::string(kAzure) + path, route.handler, route.options);
    const bool deployed =
        std::find(std::begin(kDeployed), std::end(kDeployed), path) != std::end(kDeployed);
    if (!deployed || route.method != "POST") continue;
    const auto handle = [inner = route.handler](Exchange& exchange) {
      return HandleDeployed(inner, exchange);
    };
    router.Add("POST", std::string(kDeployment) + path, handle, route.options);
  }
}

}  // namespace conclave::gateway::openai
