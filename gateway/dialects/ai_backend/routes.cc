#include "gateway/dialects/ai_backend/routes.h"

#include "gateway/dialects/ai_backend/errors.h"
#include "gateway/dialects/ai_backend/query.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::ai_backend {
namespace {

Task<void> UnknownOperation(Exchange& exchange) {
  return ReplyError(exchange,
                    base::InvalidArgument("unknown operation: expected predict, getlogs, cleanlogs "
                                          "or addmodel"),
                    ErrorJson);
}

}  // namespace

absl::StatusOr<std::string> ModelOf(const Exchange& exchange) {
  const std::map<std::string, std::string> query = ParseQuery(exchange.request.head.query);
  const auto id = query.find("id");
  if (id != query.end() && !id->second.empty()) return id->second;
  return base::WithParam(base::InvalidArgument("id: required"), "id");
}

void AddRoutes(Router& router, const Services& services) {
  RouteOptions any;
  any.any_content_type = true;
  const RouteOptions admin = AdminRoute(/*any_content_type=*/true);
  // The first word is how the model is to be asked, whatever the method of the request is.
  for (const std::string word : {"/post", "/get"}) {
    router.SetErrorFamily(word, ErrorJson);
    for (const std::string_view method : {"GET", "POST"}) {
      const auto add = [&](std::string_view operation, auto action, const RouteOptions& options) {
        router.Add(
            method, word + std::string(operation),
            [&services, action](Exchange& exchange) { return action(services, exchange); },
            options);
      };
      router.Add(
          method, word + "/predict",
          [&router, &services](Exchange& exchange) { return Predict(router, services, exchange); },
          any);
      add("/getlogs", GetLogs, any);
      add("/cleanlogs", CleanLogs, admin);
      add("/addmodel", AddModel, admin);
      router.Add(method, word + "/{operation...}", UnknownOperation, any);
    }
  }
}

}  // namespace conclave::gateway::ai_backend
