// HEAD and POST /api/blobs/{digest}.
#include <utility>

#include "gateway/dialects/model_files.h"
#include "gateway/dialects/ollama/create_request.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::ollama {
namespace {

// Far above any model file; the workers know how much room they have.
constexpr size_t kBlobBytesMax = size_t{1} << 44;

Task<void> Answer(Exchange& exchange, absl::Status status, int good) {
  if (!status.ok()) {
    co_await ReplyError(exchange, std::move(status), ErrorJson);
    co_return;
  }
  Response response;
  response.status = good;
  response.content_type.clear();
  co_await exchange.out.Reply(std::move(response));
}

Task<void> Head(const Services& services, Exchange& exchange) {
  absl::StatusOr<std::string> digest = NormalDigest(exchange.request.Param("digest"));
  absl::Status status = digest.status();
  if (status.ok()) status = co_await FindBlob(services, exchange, *std::move(digest));
  co_await Answer(exchange, std::move(status), 200);
}

Task<void> Post(const Services& services, Exchange& exchange) {
  absl::StatusOr<std::string> digest = NormalDigest(exchange.request.Param("digest"));
  absl::Status status = digest.status();
  if (status.ok()) {
    status = co_await FindBlob(services, exchange, *digest);
    if (status.ok()) {
      co_await Answer(exchange, status, 200);  // it is there already
      co_return;
    }
    if (absl::IsNotFound(status)) status = co_await StoreBlob(services, exchange, *digest);
  }
  co_await Answer(exchange, std::move(status), 201);
}

}  // namespace

void AddBlobRoutes(Router& router, const Services& services) {
  RouteOptions options = AdminRoute(/*any_content_type=*/true);
  router.Add(
      "HEAD", "/api/blobs/{digest}", [&services](Exchange& e) { return Head(services, e); },
      options);
  options.stream_body = true;
  options.body_bytes_max = kBlobBytesMax;
  router.Add(
      "POST", "/api/blobs/{digest}", [&services](Exchange& e) { return Post(services, e); },
      options);
}

}  // namespace conclave::gateway::ollama
