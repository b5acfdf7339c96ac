// POST /v1/messages.
#include <utility>

#include "gateway/dialects/anthropic/answer.h"
#include "gateway/dialects/anthropic/errors.h"
#include "gateway/dialects/anthropic/messages_request.h"
#include "gateway/dialects/anthropic/routes.h"
#include "gateway/dialects/anthropic/stream.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::anthropic {
namespace {

Task<void> Messages(const Services& services, Exchange& exchange) {
  absl::StatusOr<MessagesRequest> request =
      DecodeMessagesRequest(exchange.request.body, services.default_system_prompt);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), kErrors);
    co_return;
  }
  v1::GenerateRequest& generate = request->generate;
  MessageShape shape{services.new_id("msg_"), generate.model(), request->omit_thinking};
  const absl::Status able =
      CheckModel(services, exchange.request, generate.chat(), generate.mutable_model());
  if (!able.ok()) {
    co_await ReplyError(exchange, able, kErrors);
    co_return;
  }
  if (request->stream) {
    MessageStream encoder(std::move(shape));
    co_await StreamGeneration(services, exchange, std::move(generate), encoder, kErrors);
    co_return;
  }
  const auto encode = [&shape](const Completion& whole) { return EncodeMessage(shape, whole); };
  co_await ReplyGeneration(services, exchange, std::move(generate), encode, kErrors);
}

}  // namespace

void AddMessageRoutes(Router& router, const Services& services) {
  openai::AddBoth(router, "POST", "/messages",
                  [&services](Exchange& exchange) { return Messages(services, exchange); });
}

}  // namespace conclave::gateway::anthropic
