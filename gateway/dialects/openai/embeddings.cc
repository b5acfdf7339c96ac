// POST /v1/embeddings.
#include <utility>

#include "gateway/dialects/embedding_call.h"
#include "gateway/dialects/llm_serving/quirks.h"
#include "gateway/dialects/openai/embeddings_codec.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::openai {
namespace {

constexpr size_t kBodyBytesMax = 16u << 20;

// No more than the model has.
void SetDefaultDimensions(const Services& services, const Exchange& exchange,
                          v1::EmbedRequest* request) {
  if (request->dimensions() != 0) return;
  const auto model =
      FindForgiving(services, exchange.request, "embedding", request->mutable_model());
  if (model.ok() && model->details().embedding_length() > llm_serving::kEmbedDimensions) {
    request->set_dimensions(llm_serving::kEmbedDimensions);
  }
}

Task<void> Embed(const Services& services, Exchange& exchange) {
  const bool defaults = exchange.request.profile == CompatProfile::kLlmServing;
  absl::StatusOr<EmbeddingsRequest> request =
      defaults ? DecodeEmbeddingsRequest(llm_serving::WithEmbedDefaults(exchange.request.body))
               : DecodeEmbeddingsRequest(exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  const std::string model = request->embed.model();
  if (defaults) SetDefaultDimensions(services, exchange, &request->embed);
  const absl::StatusOr<Embeddings> embeddings =
      co_await EmbedInputs(services, exchange, std::move(request->embed));
  if (!embeddings.ok()) {
    co_await ReplyError(exchange, embeddings.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeEmbeddings(model, *embeddings, request->base64));
}

}  // namespace

void AddEmbeddingRoutes(Router& router, const Services& services) {
  RouteOptions options;
  options.body_bytes_max = kBodyBytesMax;
  AddBoth(
      router, "POST", "/embeddings",
      [&services](Exchange& exchange) { return Embed(services, exchange); }, options);
}

}  // namespace conclave::gateway::openai
