// Status code → HTTP, in one table; and what a dialect needs to know to write an error body.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "gateway/http/compat_profile.h"

namespace conclave::gateway {

// 499 for CANCELLED: it is logged, never sent.
int HttpStatusOf(absl::StatusCode code);

// An error on its way to a client, before a dialect has dressed it.
struct ErrorInfo {
  int http_status = 500;
  std::string message;
  std::string reason;           // "model_not_found", "queue_full", …; "" = none
  std::string param;            // the request field at fault; "" = none
  int64_t retry_after_ms = 0;   // 0 = no hint
  std::string request_id = {};  // for dialects that repeat it in the body
  CompatProfile profile = CompatProfile::kStrict;  // of the request; some have bodies of their own
};

// Reads code, message, reason, param and retry-after (base/status.h). An INVALID_ARGUMENT whose
// message reads "<field path>: <what>" (base/json.h) needs no param: the path is taken from there.
// The message of INTERNAL, UNKNOWN and UNAVAILABLE without a reason is replaced: it may tell of our
// insides.
ErrorInfo ErrorInfoOf(const absl::Status& status);

}  // namespace conclave::gateway
