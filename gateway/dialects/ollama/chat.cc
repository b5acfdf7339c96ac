// POST /api/chat.
#include <utility>

#include "gateway/dialects/ollama/answer.h"
#include "gateway/dialects/ollama/chat_request.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/routes.h"

namespace conclave::gateway::ollama {
namespace {

Task<void> Chat(const Services& services, Exchange& exchange) {
  absl::StatusOr<ChatRequest> request = DecodeChatRequest(exchange.request.body);
  absl::Status status = request.status();
  if (status.ok()) {
    status =
        SetModel(services, exchange.request, request->common.model, "chat", &request->generate);
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  const CommonFields& common = request->common;
  ReplyShape shape{ReplyShape::Kind::kChat, common.model, services.clock};
  if (request->generate.chat().messages().empty()) {
    co_await Keep(services, exchange, request->generate, shape);
    co_return;
  }
  std::vector<int32_t> no_context;
  co_await Answer(services, exchange, std::move(request->generate), std::move(shape), common.stream,
                  std::move(no_context));
}

}  // namespace

void AddChatRoutes(Router& router, const Services& services) {
  router.Add(
      "POST", "/api/chat", [&services](Exchange& exchange) { return Chat(services, exchange); },
      AnyContentType());
}

}  // namespace conclave::gateway::ollama
