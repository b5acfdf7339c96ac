#include "gateway/dialects/openai/routes.h"

#include <utility>

#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/coverage.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/store_routes.h"

namespace conclave::gateway::openai {
namespace {

// Whole families: any method, any depth below.
constexpr Unserved kUnserved[] = {
    {"/chat/completions/{completion}"},
    {"/responses"},
    {"/conversations"},
    {"/files"},
    {"/uploads"},
    {"/batches"},
    {"/vector_stores"},
    {"/moderations"},
    {"/images"},
    {"/audio"},
    {"/videos"},
    {"/realtime"},
    {"/fine_tuning"},
    {"/evals"},
    {"/containers"},
    {"/skills"},
    {"/chatkit"},
    {"/decisions"},
};
constexpr std::string_view kMethods[] = {"GET", "POST", "DELETE", "PUT", "PATCH"};

}  // namespace

void AddBoth(Router& router, std::string_view method, std::string_view path, Handler handler,
             RouteOptions options) {
  router.Add(method, "/v1" + std::string(path), handler, options);
  router.Add(method, path, std::move(handler), options);
}

void AddUnserved(Router& router, std::string_view path, ErrorFamily errors) {
  const Handler refuse = [errors](Exchange& exchange) -> Task<void> {
    const absl::Status status =
        base::Unimplemented(exchange.request.head.path + " is not served by this server");
    return ReplyError(exchange, status, errors);
  };
  RouteOptions options;
  options.any_content_type = true;  // multipart uploads deserve the true reason
  for (const std::string_view method : kMethods) {
    AddBoth(router, method, path, refuse, options);
    AddBoth(router, method, std::string(path) + "/{rest...}", refuse, options);
  }
}

void AddUnservedRoutes(Router& router) {
  for (const Unserved& family : kUnserved) AddUnserved(router, family.path, ErrorJson);
}

Coverage DialectCoverage() {
  Coverage coverage;
  for (const auto& part : {GenerationEndpoints(), AssistantEndpoints(), DeploymentEndpoints()}) {
    coverage.endpoints.insert(coverage.endpoints.end(), part.begin(), part.end());
  }
  coverage.unserved.assign(std::begin(kUnserved), std::end(kUnserved));
  coverage.version = "v1";
  return coverage;
}

void AddRoutes(Router& router, const Services& services) {
  router.SetErrorFamily("", ErrorJson);
  AddChatRoutes(router, services);
  AddCompletionRoutes(router, services);
  AddModelRoutes(router, services);
  AddEmbeddingRoutes(router, services);
  AddAssistantRoutes(router, services);
  AddThreadRoutes(router, services);
  AddRunRoutes(router, services);
  AddUnservedRoutes(router);
  AddAzureRoutes(router);
}

}  // namespace conclave::gateway::openai
