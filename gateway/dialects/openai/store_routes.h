// What the routes over the store have in common: body → request, call, reply → JSON.
#pragma once

#include <utility>

#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/assistants_decode.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/kt_legacy.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::openai {

// UNIMPLEMENTED when the gateway runs without a store.
absl::Status CheckStore(const Services& services);

// One unary call. `prepare(exchange)` gives the request or a complaint; `encode(reply)` the body.
template <typename StoreRequest, typename Reply, typename Prepare, typename Encode>
Task<void> CallStore(const Services& services, Exchange& exchange,
                     Call<Reply> (StoreUpstream::*method)(StoreRequest, base::SteadyTime),
                     Prepare prepare, Encode encode) {
  const absl::Status has_store = CheckStore(services);
  if (!has_store.ok()) {
    co_await ReplyError(exchange, has_store, ErrorJson);
    co_return;
  }
  absl::StatusOr<StoreRequest> request = prepare(exchange);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  *request->mutable_meta() = MetaOf(exchange.request);
  Call<Reply> call = (services.store->*method)(
      *std::move(request), std::chrono::steady_clock::now() + services.times.store);
  absl::StatusOr<Reply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, encode(*reply));
}

// The decoder's request from the body.
template <typename Decode>
auto DecodeBody(const Exchange& exchange, Decode decode)
    -> decltype(decode(std::declval<base::JsonValue>())) {
  const bool respell = exchange.request.profile == CompatProfile::kKtLegacy;
  const std::string respelled = respell ? Respelled(exchange.request.body) : std::string();
  ASSIGN_OR_RETURN(const base::JsonDocument document,
                   ParseStoredBody(respell ? respelled : exchange.request.body));
  return decode(document.root());
}

// Whether the body names the field; true as well when the body cannot be read, so that its reader
// complains.
bool Gives(const Exchange& exchange, std::string_view field);

void AddAssistantRoutes(Router& router, const Services& services);
void AddThreadRoutes(Router& router, const Services& services);
void AddRunRoutes(Router& router, const Services& services);

}  // namespace conclave::gateway::openai
