// The OpenAI error envelope: {"error":{"message","type","param","code"}}, all four keys always
// there.
#pragma once

#include <string>

#include "gateway/http/status_map.h"

namespace conclave::gateway::openai {

std::string ErrorJson(const ErrorInfo& error);

}  // namespace conclave::gateway::openai
