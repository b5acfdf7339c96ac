#include "gateway/http/status_map.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "base/utf8.h"

namespace conclave::gateway {
namespace {

struct CodeRow {
  absl::StatusCode code;
  int http_status;
};
constexpr std::array kCodes = {
    CodeRow{absl::StatusCode::kOk, 200},
    CodeRow{absl::StatusCode::kInvalidArgument, 400},
    CodeRow{absl::StatusCode::kFailedPrecondition, 400},
    CodeRow{absl::StatusCode::kOutOfRange, 400},
    CodeRow{absl::StatusCode::kUnauthenticated, 401},
    CodeRow{absl::StatusCode::kPermissionDenied, 403},
    CodeRow{absl::StatusCode::kNotFound, 404},
    CodeRow{absl::StatusCode::kAlreadyExists, 409},
    CodeRow{absl::StatusCode::kAborted, 409},
    CodeRow{absl::StatusCode::kResourceExhausted, 429},
    CodeRow{absl::StatusCode::kCancelled, 499},
    CodeRow{absl::StatusCode::kUnimplemented, 501},
    CodeRow{absl::StatusCode::kUnavailable, 503},
    CodeRow{absl::StatusCode::kDeadlineExceeded, 504},
};

// What a caller sent may be in the message and in the path; it need not all come back.
constexpr size_t kMessageBytesMax = 2048;
constexpr size_t kParamBytesMax = 256;

// The field path in front of "<path>: <what>": letters, digits, '_', '.', '[n]'.
std::string_view FieldPathOf(std::string_view message) {
  const size_t colon = message.find(": ");
  if (colon == std::string_view::npos || colon == 0) return {};
  const std::string_view path = message.substr(0, colon);
  const bool plain = std::all_of(path.begin(), path.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_.[]-").find(c) != std::string_view::npos;
  });
  return plain ? path : std::string_view();
}

}  // namespace

int HttpStatusOf(absl::StatusCode code) {
  for (const CodeRow& row : kCodes) {
    if (row.code == code) return row.http_status;
  }
  return 500;
}

ErrorInfo ErrorInfoOf(const absl::Status& status) {
  ErrorInfo info;
  info.http_status = HttpStatusOf(status.code());
  info.message = base::Utf8Prefix(base::Std(status.message()), kMessageBytesMax);
  info.reason = base::ReasonOf(status);
  info.param = base::Utf8Prefix(base::ParamOf(status), kParamBytesMax);
  info.retry_after_ms = base::RetryAfterOf(status).count();
  if (info.param.empty() && info.http_status == 400) {
    info.param = base::Utf8Prefix(FieldPathOf(info.message), kParamBytesMax);
  }
  // Without a reason it was not meant for clients, or comes from the transport and names our
  // addresses.
  if (!info.reason.empty()) return info;
  if (info.http_status == 500) info.message = "internal error; the request id finds it in the log";
  if (info.http_status == 503) {
    info.message = "a service behind this server is not available at the moment";
  }
  return info;
}

}  // namespace conclave::gateway
