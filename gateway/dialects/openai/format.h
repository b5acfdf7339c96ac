// The fields that ask for a shape of the answer: response_format, and what vLLM, llama-server and
// SGLang call the same (guided_*, structured_outputs, grammar, json_schema, regex, ebnf).
#pragma once

#include "base/json.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::openai {

// INVALID_ARGUMENT naming the field, also when two of them differ. What the shape itself says is
// the worker's to check.
absl::Status ReadFormat(base::JsonValue root, v1::GenerateRequest* request);

}  // namespace conclave::gateway::openai
