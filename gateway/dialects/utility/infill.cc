// POST /infill, for editors: what stands in a gap of a text.
#include <utility>

#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/utility/infill_reply.h"
#include "gateway/dialects/utility/infill_request.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

absl::StatusOr<InfillRequest> Decode(const Services& services, const Request& http) {
  ASSIGN_OR_RETURN(InfillRequest request, DecodeInfillRequest(http.body));
  ASSIGN_OR_RETURN(std::string name,
                   ChooseModel(services, http, request.generate.model(), "insert"));
  request.generate.set_model(std::move(name));
  return request;
}

Task<void> FillIn(const Services& services, Exchange& exchange) {
  absl::StatusOr<InfillRequest> request = Decode(services, exchange.request);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), openai::ErrorJson);
    co_return;
  }
  const InfillShape shape{.model = request->generate.model(),
                          .with_tokens = request->with_tokens,
                          .fields = std::move(request->fields)};
  if (request->stream) {
    InfillStream encoder(shape);
    co_await StreamGeneration(services, exchange, std::move(request->generate), encoder,
                              openai::ErrorJson);
    co_return;
  }
  const auto encode = [&shape](const Completion& whole) { return EncodeInfill(shape, whole); };
  co_await ReplyGeneration(services, exchange, std::move(request->generate), encode,
                           openai::ErrorJson);
}

}  // namespace

void AddInfillRoutes(Router& router, const Services& services) {
  openai::AddBoth(router, "POST", "/infill",
                  [&services](Exchange& exchange) { return FillIn(services, exchange); });
}

}  // namespace conclave::gateway::utility
