// POST /v1/messages/count_tokens.
#include <utility>

#include "base/json.h"
#include "gateway/dialects/anthropic/errors.h"
#include "gateway/dialects/anthropic/messages_request.h"
#include "gateway/dialects/anthropic/routes.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::anthropic {
namespace {

// The worker renders and tokenises the conversation as it would to answer it.
Task<absl::StatusOr<int64_t>> CountTokens(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::TokenizeRequest> request =
      DecodeCountTokensRequest(exchange.request.body, services.default_system_prompt);
  if (!request.ok()) co_return request.status();
  const absl::Status able =
      CheckModel(services, exchange.request, request->chat(), request->mutable_model());
  if (!able.ok()) co_return able;
  exchange.record.model = request->model();
  *request->mutable_meta() = MetaOf(services, exchange.request);
  Call<v1::TokenizeReply> call = services.inference->Tokenize(
      *std::move(request), std::chrono::steady_clock::now() + services.times.store);
  const absl::StatusOr<v1::TokenizeReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return reply.status();
  co_return reply->token_ids_size();
}

Task<void> Answer(const Services& services, Exchange& exchange) {
  const absl::StatusOr<int64_t> count = co_await CountTokens(services, exchange);
  if (!count.ok()) {
    co_await ReplyError(exchange, count.status(), kErrors);
    co_return;
  }
  base::JsonWriter json;
  json.BeginObject();
  json.Field("input_tokens", *count);
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

}  // namespace

void AddCountTokensRoutes(Router& router, const Services& services) {
  openai::AddBoth(router, "POST", "/messages/count_tokens",
                  [&services](Exchange& exchange) { return Answer(services, exchange); });
}

}  // namespace conclave::gateway::anthropic
