// POST /v1/completions: what is asked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "conclave/v1/inference.pb.h"
#include "gateway/dialects/openai/sampling.h"

namespace conclave::gateway::openai {

// Choice k of prompt p has the index p·n + k.
struct CompletionsRequest {
  std::vector<v1::GenerateRequest> generate;  // one for each prompt
  std::vector<std::string> prompts;           // their texts; "" where it was given as token ids
  int n = 1;                                  // choices for each prompt in the answer
  int best_of = 1;                            // choices made for each prompt, n or more
  bool echo = false;                          // the prompt stands before each completion
  bool with_logprobs = false;
  StreamOptions stream;
  Reports reports;
};

// INVALID_ARGUMENT names the field.
absl::StatusOr<CompletionsRequest> DecodeCompletionsRequest(std::string_view body);

}  // namespace conclave::gateway::openai
