#include "gateway/dialects/llm_serving/routes.h"

#include <optional>

#include "base/json.h"
#include "gateway/dialects/generation.h"

namespace conclave::gateway::llm_serving {
namespace {

// The seed's own default, told to clients that ask.
constexpr int kMaxNewTokens = 1024;

Task<void> Status(const Services& services, Exchange& exchange) {
  const std::optional<v1::ModelStatus> model = DefaultModel(services, "completion");
  base::JsonWriter json;
  json.BeginObject();
  if (model) {
    json.Field("status", "running");
    json.Field("llm_serving_url", "http://" + exchange.request.head.host);
    json.Field("model_name", model->name());
    json.Field("max_new_tokens", kMaxNewTokens);
    json.Field("device", "cpu");
    json.Field("do_sample", true);
    json.Field("system_prompt", services.default_system_prompt);
  } else {
    json.Field("status", "not started");
    json.Field("message", "You need to start the service first.");
  }
  json.EndObject();
  return ReplyJson(exchange, json.Take());
}

}  // namespace

void AddRoutes(Router& router, const Services& services) {
  router.Add("GET", "/chat",
             [&services](Exchange& exchange) { return Status(services, exchange); });
}

}  // namespace conclave::gateway::llm_serving
