// POST /api/chat: the request.
#pragma once

#include <string_view>

#include "gateway/dialects/ollama/options.h"

namespace conclave::gateway::ollama {

struct ChatRequest {
  v1::GenerateRequest generate;
  CommonFields common;
};

// No messages at all: the caller asks to load the model; chat().messages() is empty then.
absl::StatusOr<ChatRequest> DecodeChatRequest(std::string_view body);

}  // namespace conclave::gateway::ollama
