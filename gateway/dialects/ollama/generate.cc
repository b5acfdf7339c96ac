// POST /api/generate.
#include <utility>

#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/generate_request.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/ollama/stream.h"

namespace conclave::gateway::ollama {
namespace {

// The prompt's tokens as the worker makes them, after those of the request's context. Empty when
// the worker cannot say: the answer then has no context.
Task<absl::StatusOr<std::vector<int32_t>>> PromptIds(const Services& services, Exchange& exchange,
                                                     const GenerateRequest& request) {
  v1::TokenizeRequest tokenize;
  *tokenize.mutable_meta() = MetaOf(exchange.request);
  tokenize.set_model(request.generate.model());
  if (request.raw) {
    tokenize.set_text(request.generate.text());
  } else {
    *tokenize.mutable_chat() = request.generate.chat();
  }
  Call<v1::TokenizeReply> call = services.inference->Tokenize(
      std::move(tokenize), std::chrono::steady_clock::now() + services.times.store);
  const absl::StatusOr<v1::TokenizeReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return reply.status();
  std::vector<int32_t> ids = request.context;
  ids.insert(ids.end(), reply->token_ids().begin(), reply->token_ids().end());
  co_return ids;
}

Task<void> Answer(const Services& services, Exchange& exchange, GenerateRequest request) {
  ReplyShape shape{ReplyShape::Kind::kGenerate, request.common.model, services.clock};
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
  if (request.common.stream) {
    StreamEncoder encoder(shape);
    encoder.set_prompt_ids(*std::move(ids));
    co_await StreamGeneration(services, exchange, std::move(request.generate), encoder, ErrorJson);
    co_return;
  }
  const absl::StatusOr<Completion> completion =
      co_await CollectGeneration(services, exchange, std::move(request.generate));
  if (!completion.ok()) {
    co_await ReplyError(exchange, completion.status(), ErrorJson);
    co_return;
  }
  Ending ending = EndingOf(completion->choices.front().finished, completion->usage);
  if (!ids->empty()) {
    ending.context = *std::move(ids);
    const auto& generated = completion->choices.front().token_ids;
    ending.context.insert(ending.context.end(), generated.begin(), generated.end());
  }
  co_await ReplyJson(exchange, EncodeLast(shape, PieceOf(*completion), ending));
}

Task<void> Generate(const Services& services, Exchange& exchange) {
  absl::StatusOr<GenerateRequest> request = DecodeGenerateRequest(exchange.request.body);
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
  if (request->load_only) {
    Ending loaded;
    loaded.done_reason = request->common.unload ? "unload" : "load";
    const ReplyShape shape{ReplyShape::Kind::kGenerate, request->common.model, services.clock};
    co_await ReplyJson(exchange, EncodeLast(shape, Piece(), loaded));
    co_return;
  }
  co_await Answer(services, exchange, *std::move(request));
}

}  // namespace

void AddGenerateRoutes(Router& router, const Services& services) {
  router.Add(
      "POST", "/api/generate",
      [&services](Exchange& exchange) { return Generate(services, exchange); }, AnyContentType());
}

}  // namespace conclave::gateway::ollama
