// POST /api/chat.
#include <utility>

#include "gateway/dialects/ollama/chat_request.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/ollama/stream.h"

namespace conclave::gateway::ollama {
namespace {

Task<void> Chat(const Services& services, Exchange& exchange) {
  absl::StatusOr<ChatRequest> request = DecodeChatRequest(exchange.request.body);
  absl::Status status = request.status();
  if (status.ok()) {
    const auto model = ResolveModel(*services.models, request->common.model);
    status = model.status();
    if (model.ok()) request->generate.set_model(*model);
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  const CommonFields& common = request->common;
  ReplyShape shape{ReplyShape::Kind::kChat, common.model, services.clock};
  if (request->generate.chat().messages().empty()) {
    Ending loaded;
    loaded.done_reason = common.unload ? "unload" : "load";
    co_await ReplyJson(exchange, EncodeLast(shape, Piece(), loaded));
    co_return;
  }
  if (common.stream) {
    StreamEncoder encoder(shape);
    co_await StreamGeneration(services, exchange, std::move(request->generate), encoder, ErrorJson);
    co_return;
  }
  const absl::StatusOr<Completion> completion =
      co_await CollectGeneration(services, exchange, std::move(request->generate));
  if (!completion.ok()) {
    co_await ReplyError(exchange, completion.status(), ErrorJson);
    co_return;
  }
  const Ending ending = EndingOf(completion->choices.front().finished, completion->usage);
  co_await ReplyJson(exchange, EncodeLast(shape, PieceOf(*completion), ending));
}

}  // namespace

void AddChatRoutes(Router& router, const Services& services) {
  router.Add(
      "POST", "/api/chat", [&services](Exchange& exchange) { return Chat(services, exchange); },
      AnyContentType());
}

}  // namespace conclave::gateway::ollama
