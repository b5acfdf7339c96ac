// Llama Stack's error body, under both keys that its servers used:
// {"error":{"detail":X,"message":text},"detail":X}. X is the text, or {"errors":[{loc,msg,type}]}
// where a field of the request is at fault.
#pragma once

#include <string>

#include "gateway/http/status_map.h"

namespace conclave::gateway::llama_stack {

std::string ErrorJson(const ErrorInfo& error);

// {"error":{"message"}}: an error in the middle of a stream.
std::string StreamErrorJson(const ErrorInfo& error);

}  // namespace conclave::gateway::llama_stack
