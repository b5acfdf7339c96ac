#include "gateway/http/error_response.h"

#include <algorithm>
#include <string>

namespace conclave::gateway {
namespace {

constexpr int64_t kRetryAfterDefaultMs = 1'000;
constexpr int64_t kRetryAfterMaxMs = 60'000;

}  // namespace

Response MakeErrorResponse(const ErrorInfo& error, const ErrorFamily& family) {
  Response response;
  response.status = error.http_status == 503 ? family.unavailable_status : error.http_status;
  response.body = family.body(error);
  if (error.http_status == 429 || error.http_status == 503) {
    const int64_t wait_ms =
        std::clamp<int64_t>(error.retry_after_ms > 0 ? error.retry_after_ms : kRetryAfterDefaultMs,
                            1, kRetryAfterMaxMs);
    response.headers.emplace_back("Retry-After", std::to_string((wait_ms + 999) / 1000));
    response.headers.emplace_back("retry-after-ms", std::to_string(wait_ms));
  }
  if (error.http_status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  // Trying again may do it twice, or cannot help.
  if (error.http_status == 500 || error.http_status == 501 || error.reason == "outcome_unknown") {
    response.headers.emplace_back("x-should-retry", "false");
  }
  return response;
}

}  // namespace conclave::gateway
