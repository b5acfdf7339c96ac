// {"error":"…"}
#pragma once

#include <string>

#include "gateway/http/router.h"

namespace conclave::gateway::ai_backend {

std::string ErrorJson(const ErrorInfo& error);

// Of a model that was asked and could not be reached.
inline constexpr ErrorFamily kModelErrors = [] {
  ErrorFamily family(ErrorJson);
  family.unavailable_status = 502;
  return family;
}();

}  // namespace conclave::gateway::ai_backend
