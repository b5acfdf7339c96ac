// Anthropic's error body: {"type":"error","error":{"type","message","details"},"request_id"}, with
// {"error_code"} for the details of an error that has a stable word.
// https://docs.claude.com/en/api/errors
#pragma once

#include <string>

#include "gateway/http/router.h"

namespace conclave::gateway::anthropic {

std::string ErrorJson(const ErrorInfo& error);

// "Overloaded" has a status of its own here, and the request id its own header.
inline constexpr ErrorFamily kErrors = [] {
  ErrorFamily family(ErrorJson);
  family.unavailable_status = 529;
  family.request_id_header = "request-id";
  return family;
}();

}  // namespace conclave::gateway::anthropic
