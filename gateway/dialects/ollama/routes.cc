#include "gateway/dialects/ollama/routes.h"

#include <utility>

#include "gateway/dialects/generation.h"
#include "gateway/dialects/ollama/errors.h"

namespace conclave::gateway::ollama {
namespace {

// New enough for clients to send think, logprobs and tool names.
constexpr std::string_view kVersionJson = R"({"version":"0.13.0"})";

struct Unserved {
  std::string_view method;
  std::string_view path;
};
constexpr Unserved kUnserved[] = {{"POST", "/api/push"}};

Task<void> Root(Exchange& exchange) {
  Response response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = "Ollama is running";
  return exchange.out.Reply(std::move(response));
}

}  // namespace

RouteOptions AnyContentType() {
  RouteOptions options;
  options.any_content_type = true;
  return options;
}

void AddRoutes(Router& router, const Services& services) {
  router.SetErrorFamily("/api", ErrorJson);
  RouteOptions open;
  open.open = true;
  router.Add("GET", "/", Root, open);
  router.Add(
      "GET", "/api/version", [](Exchange& e) { return ReplyJson(e, std::string(kVersionJson)); },
      open);
  AddChatRoutes(router, services);
  AddGenerateRoutes(router, services);
  AddEmbedRoutes(router, services);
  AddModelRoutes(router, services);
  AddCreateRoutes(router, services);
  AddBlobRoutes(router, services);
  AddPullRoutes(router, services);
  for (const auto& [method, path] : kUnserved) {
    router.Add(
        method, path,
        [](Exchange& e) {
          return ReplyError(
              e, base::Unimplemented(e.request.head.path + " is not served by this server"),
              ErrorJson);
        },
        AnyContentType());
  }
}

}  // namespace conclave::gateway::ollama
