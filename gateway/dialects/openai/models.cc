// GET /v1/models, GET and DELETE /v1/models/{model}.
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/assistants_encode.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/models_codec.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::openai {
namespace {

Task<void> GetModel(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::ModelStatus> model = services.models->Find(exchange.request.Param("model"));
  if (!model.ok()) {
    co_await ReplyError(exchange, model.status(), ErrorJson);
    co_return;
  }
  for (v1::ModelStatus& now : co_await ModelsNow(services, exchange)) {
    if (now.name() == model->name()) *model = std::move(now);
  }
  co_await ReplyJson(exchange, EncodeModel(*model));
}

Task<void> ListModels(const Services& services, Exchange& exchange) {
  const std::vector<v1::ModelStatus> models = co_await ModelsNow(services, exchange);
  co_await ReplyJson(exchange, EncodeModelList(models));
}

Task<void> DeleteModel(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::ModelStatus> model = services.models->Find(exchange.request.Param("model"));
  if (!model.ok()) {
    co_await ReplyError(exchange, model.status(), ErrorJson);
    co_return;
  }
  const absl::StatusOr<v1::DeleteReply> gone =
      co_await UnregisterModel(services, exchange, model->name());
  if (!gone.ok()) {
    co_await ReplyError(exchange, gone.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeDeleted(gone->id(), "model"));
}

}  // namespace

void AddModelRoutes(Router& router, const Services& services) {
  AddBoth(router, "GET", "/models",
          [&services](Exchange& exchange) { return ListModels(services, exchange); });
  AddBoth(router, "GET", "/models/{model...}",
          [&services](Exchange& exchange) { return GetModel(services, exchange); });
  AddBoth(
      router, "DELETE", "/models/{model...}",
      [&services](Exchange& exchange) { return DeleteModel(services, exchange); }, AdminRoute());
}

}  // namespace conclave::gateway::openai
