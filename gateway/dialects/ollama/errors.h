// Ollama's error body: {"error":"text"}.
#pragma once

#include <string>

#include "gateway/http/status_map.h"

namespace conclave::gateway::ollama {

std::string ErrorJson(const ErrorInfo& error);

}  // namespace conclave::gateway::ollama
