// GET /v1/models, GET /v1/models/{model}.
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/models_codec.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::openai {
namespace {

Task<void> GetModel(const Services& services, Exchange& exchange) {
  const absl::StatusOr<v1::ModelStatus> model =
      services.models->Find(exchange.request.Param("model"));
  if (!model.ok()) return ReplyError(exchange, model.status(), ErrorJson);
  return ReplyJson(exchange, EncodeModel(*model));
}

}  // namespace

void AddModelRoutes(Router& router, const Services& services) {
  AddBoth(router, "GET", "/models", [&services](Exchange& exchange) {
    return ReplyJson(exchange, EncodeModelList(services.models->List()));
  });
  AddBoth(router, "GET", "/models/{model...}",
          [&services](Exchange& exchange) { return GetModel(services, exchange); });
}

}  // namespace conclave::gateway::openai
