// POST /api/create, POST /api/copy, DELETE /api/delete.
#include <utility>

#include "gateway/dialects/ollama/create_request.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/ollama/status_lines.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::ollama {
namespace {

Task<void> Create(const Services& services, Exchange& exchange) {
  absl::StatusOr<CreateRequest> request =
      DecodeCreateRequest(*services.models, exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  absl::StatusOr<v1::ModelRegistration> made =
      co_await RegisterModel(services, exchange, std::move(request->registration));
  if (!made.ok()) {
    co_await ReplyError(exchange, made.status(), ErrorJson);
    co_return;
  }
  std::string lines;
  if (request->stream) {
    if (!request->digest.empty()) lines += StatusLine("using existing layer " + request->digest);
    lines += StatusLine("writing manifest");
  }
  lines += StatusLine("success");
  co_await ReplyLines(exchange, request->stream, lines);
}

Task<void> Copy(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::RegisterModelRequest> request =
      DecodeCopyRequest(*services.models, exchange.request.body);
  absl::Status status = request.status();
  if (status.ok()) {
    const absl::StatusOr<v1::ModelRegistration> made =
        co_await RegisterModel(services, exchange, *std::move(request));
    status = made.status();
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  Response response;
  response.content_type.clear();
  co_await exchange.out.Reply(std::move(response));
}

Task<void> Delete(const Services& services, Exchange& exchange) {
  absl::StatusOr<std::string> name = DecodeName(exchange.request.body);
  if (name.ok()) name = ResolveModel(*services.models, *name);
  absl::Status status = name.status();
  if (status.ok()) {
    const absl::StatusOr<v1::DeleteReply> gone =
        co_await UnregisterModel(services, exchange, *name);
    status = gone.status();
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  Response response;
  response.content_type.clear();
  co_await exchange.out.Reply(std::move(response));
}

}  // namespace

void AddCreateRoutes(Router& router, const Services& services) {
  const RouteOptions options = AdminRoute(/*any_content_type=*/true);
  router.Add(
      "POST", "/api/create", [&services](Exchange& e) { return Create(services, e); }, options);
  router.Add(
      "POST", "/api/copy", [&services](Exchange& e) { return Copy(services, e); }, options);
  router.Add(
      "DELETE", "/api/delete", [&services](Exchange& e) { return Delete(services, e); }, options);
}

}  // namespace conclave::gateway::ollama
