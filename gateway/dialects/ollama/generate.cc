// POST /api/generate.
#include <utility>

#include "gateway/dialects/ollama/answer.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/generate_request.h"
#include "gateway/dialects/ollama/routes.h"

namespace conclave::gateway::ollama {
namespace {

// The prompt's tokens as the worker makes them, after those of the request's context. Empty when
// the worker cannot say: the answer then has no context.
Task<absl::StatusOr<std::vector<int32_t>>> PromptIds(const Services& services, Exchange& exchange,
                                                     const GenerateRequest& request) {
  v1::TokenizeRequest tokenize;
  *tokenize.mutable_meta() = MetaOf(exchange.request);
  tokenize.mutable_meta()->set_load_wait_ms(LoadWaitOf(services).count());
  tokenize.set_model(request.generate.model());
  if (request.raw) {
    tokenize.set_text(request.generate.text());
    tokenize.set_add_special(true);
    tokenize.set_parse_special(true);
  } else {
    *tokenize.mutable_chat() = request.generate.chat();
  }
  Call<v1::TokenizeReply> call = services.inference->Tokenize(
      std::move(tokenize),
      std::chrono::steady_clock::now() + services.times.store + LoadWaitOf(services));
  const absl::StatusOr<v1::TokenizeReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return reply.status();
  std::vector<int32_t> ids = request.context;
  ids.insert(ids.end(), reply->token_ids().begin(), reply->token_ids().end());
  co_return ids;
}

Task<void> Continue(const Services& services, Exchange& exchange, GenerateRequest request,
                    ReplyShape shape) {
  if (request.fills_gap) {
    // Its tokens are no beginning that an answer to another prompt could go on from.
    co_await Answer(services, exchange, std::move(request.generate), std::move(shape),
                    request.common.stream, {});
    co_return;
  }
  absl::StatusOr<std::vector<int32_t>> ids = co_await PromptIds(services, exchange, request);
  if (!request.context.empty()) {
    // A conversation is continued: without the tokens it cannot be.
    if (!ids.ok()) {
      co_await ReplyError(exchange, ids.status(), ErrorJson);
      co_return;
    }
    request.generate.mutable_token_ids()->mutable_ids()->Assign(ids->begin(), ids->end());
  }
  if (!ids.ok()) ids = std::vector<int32_t>();
  co_await Answer(services, exchange, std::move(request.generate), std::move(shape),
                  request.common.stream, *std::move(ids));
}

Task<void> Generate(const Services& services, Exchange& exchange) {
  absl::StatusOr<GenerateRequest> request = DecodeGenerateRequest(exchange.request.body);
  absl::Status status = request.status();
  if (status.ok()) {
    status =
        SetModel(services, exchange.request, request->common.model, "generate", &request->generate);
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  ReplyShape shape{ReplyShape::Kind::kGenerate, request->common.model, services.clock};
  if (request->load_only) {
    co_await Keep(services, exchange, request->generate, shape);
    co_return;
  }
  co_await Continue(services, exchange, *std::move(request), std::move(shape));
}

}  // namespace

void AddGenerateRoutes(Router& router, const Services& services) {
  router.Add(
      "POST", "/api/generate",
      [&services](Exchange& exchange) { return Generate(services, exchange); }, AnyContentType());
}

}  // namespace conclave::gateway::ollama
