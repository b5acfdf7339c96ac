// The "options" of chat and generate, and the fields both have.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "conclave/v1/inference.pb.h"
#include "conclave/v1/models.pb.h"

namespace conclave::gateway::ollama {

// Sampling and stopping; what is absent stays so (ApplyDefaults). A wrong type is `option "x" must
// be of type integer`; unknown options are ignored, and so are those about memory and devices:
// where a model runs is not a request's to say.
absl::Status ReadOptions(base::JsonValue options, v1::GenerateRequest* request);

// Ollama's defaults (temperature 0.8, top_k 40, top_p 0.9) where neither the request nor the model
// itself says something else.
void ApplyDefaults(const v1::ModelStatus& model, v1::SamplingParams* sampling);

struct CommonFields {
  std::string model;
  bool stream = true;
  bool unload = false;  // keep_alive 0
  bool with_logprobs = false;
};
// model, stream, keep_alive, options, think, format, logprobs, top_logprobs.
absl::StatusOr<CommonFields> ReadCommon(base::JsonValue root, v1::GenerateRequest* request);

// think → template variables.
absl::Status ReadThink(base::JsonValue think, v1::ChatPrompt* chat);

}  // namespace conclave::gateway::ollama
