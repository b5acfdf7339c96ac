// POST /api/generate: the request.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gateway/dialects/ollama/options.h"

namespace conclave::gateway::ollama {

struct GenerateRequest {
  v1::GenerateRequest generate;  // its prompt: a conversation, or raw text
  CommonFields common;
  bool load_only = false;  // an empty prompt
  bool raw = false;
  bool fills_gap = false;        // a suffix: the text before it is taken as it stands
  std::vector<int32_t> context;  // tokens of an earlier answer, to go in front
};

absl::StatusOr<GenerateRequest> DecodeGenerateRequest(std::string_view body);

}  // namespace conclave::gateway::ollama
