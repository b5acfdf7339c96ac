// A Go template rendered for conclave-render.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace conclave::engine {

// `json` is an object with "data", which is what the template is executed with, or a conversation
// as Ollama renders it: "messages", "tools" and "think", or "prompt" and "suffix".
// INVALID_ARGUMENT: neither, or as ChatTemplate.
absl::StatusOr<std::string> RenderGo(std::string_view source, std::string_view json,
                                     std::chrono::system_clock::time_point now);

}  // namespace conclave::engine
