// POST /infill: the request, as llama-server has it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::utility {

struct InfillRequest {
  v1::GenerateRequest generate;  // its model as the request named it; "" = not
  bool stream = false;
  bool with_tokens = false;         // return_tokens
  std::vector<std::string> fields;  // response_fields: paths like timings/prompt_n; empty = all
};

// INVALID_ARGUMENT and UNIMPLEMENTED name the field.
absl::StatusOr<InfillRequest> DecodeInfillRequest(std::string_view body);

}  // namespace conclave::gateway::utility
