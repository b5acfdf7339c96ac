// POST /v1/completions: raw text in, text out, no template.
#include <utility>

#include "gateway/dialects/openai/completions_reply.h"
#include "gateway/dialects/openai/completions_request.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/kt_legacy.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::openai {
namespace {

Task<void> Complete(const Services& services, Exchange& exchange) {
  absl::StatusOr<CompletionsRequest> request = DecodeCompletionsRequest(exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  const AnswerIdentity identity = NewAnswer(services, "cmpl-", request->generate.front());
  const CompletionsShape shape = ShapeOf(*request);
  // That server's stream knew one answer.
  const bool single = request->generate.size() == 1 && request->generate.front().n() <= 1;
  if (request->stream.stream && single && exchange.request.profile == CompatProfile::kKtLegacy) {
    KtCompletionStream encoder;
    co_await StreamGeneration(services, exchange, std::move(request->generate.front()), encoder,
                              ErrorJson);
    co_return;
  }
  if (request->stream.stream) {
    CompletionsStreamEncoder encoder(identity, shape, request->stream.include_usage);
    co_await StreamGenerations(services, exchange, std::move(request->generate), encoder,
                               ErrorJson);
    co_return;
  }
  const auto encode = [&](const Completion& whole) {
    return EncodeCompletions(identity, shape, whole);
  };
  co_await ReplyGenerations(services, exchange, std::move(request->generate), encode, ErrorJson);
}

}  // namespace

void AddCompletionRoutes(Router& router, const Services& services) {
  AddBoth(router, "POST", "/completions",
          [&services](Exchange& exchange) { return Complete(services, exchange); });
}

}  // namespace conclave::gateway::openai
