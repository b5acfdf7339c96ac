// POST /v1/chat/completions.
#include <utility>

#include "gateway/dialects/llm_serving/quirks.h"
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
  const ChatShape shape{.with_logprobs = request.generate.has_logprobs(),
                        .call_words = request.call_words,
                        .custom_tools = std::move(request.custom_tools),
                        .reports = request.reports};
  AnswerIdentity identity = NewAnswer(services, "chatcmpl-", request.generate);
  if (exchange.request.profile == CompatProfile::kLlmServing) {
    identity.created_ms = services.clock->UnixMillis();
    std::optional<std::string> prompt = llm_serving::BarePrompt(exchange.request.body);
    if (prompt) request.generate.set_text(*std::move(prompt));
  }
  if (request.stream.stream) {
    ChatStreamEncoder encoder(identity, request.stream.include_usage, shape);
    if (exchange.request.profile == CompatProfile::kKtLegacy) encoder.PutUsageFirst();
    co_await StreamGeneration(services, exchange, std::move(request.generate), encoder, ErrorJson);
    co_return;
  }
  const auto encode = [&identity, &shape](const Completion& whole) {
    return EncodeChatCompletion(identity, whole, shape);
  };
  co_await ReplyGeneration(services, exchange, std::move(request.generate), encode, ErrorJson);
}

}  // namespace

void AddChatRoutes(Router& router, const Services& services) {
  AddBoth(router, "POST", "/chat/completions",
          [&services](Exchange& exchange) { return Chat(services, exchange); });
}

}  // namespace conclave::gateway::openai
