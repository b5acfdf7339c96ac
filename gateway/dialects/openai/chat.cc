// POST /v1/chat/completions.
#include <utility>

#include "gateway/dialects/openai/chat_reply.h"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::openai {
namespace {

Task<void> Chat(const Services& services, Exchange& exchange) {
  absl::StatusOr<ChatRequest> decoded =
      DecodeChatRequest(exchange.request.body, services.default_system_prompt);
  if (!decoded.ok()) {
    co_await ReplyError(exchange, decoded.status(), ErrorJson);
    co_return;
  }
  ChatRequest& request = *decoded;
  const bool with_logprobs = request.generate.has_logprobs();
  AnswerIdentity identity;
  identity.id = services.new_id("chatcmpl-");
  identity.created = services.clock->UnixSeconds();
  identity.model = request.generate.model();
  if (request.stream.stream) {
    ChatStreamEncoder encoder(std::move(identity), request.stream.include_usage, with_logprobs);
    co_await StreamGeneration(services, exchange, std::move(request.generate), encoder, ErrorJson);
    co_return;
  }
  const absl::StatusOr<Completion> completion =
      co_await CollectGeneration(services, exchange, std::move(request.generate));
  if (!completion.ok()) {
    co_await ReplyError(exchange, completion.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeChatCompletion(identity, *completion, with_logprobs));
}

}  // namespace

void AddChatRoutes(Router& router, const Services& services) {
  AddBoth(router, "POST", "/chat/completions",
          [&services](Exchange& exchange) { return Chat(services, exchange); });
}

}  // namespace conclave::gateway::openai
