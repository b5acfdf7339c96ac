// The "options" of chat and generate, and the fields both have.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "conclave/v1/inference.pb.h"
#include "conclave/v1/models.pb.h"
#include "gateway/upstream/services.h"

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
  std::optional<int64_t> keep_alive_ms;  // as in RequestMeta
  bool with_logprobs = false;
};
// A duration as Go writes it ("5m", "1h30m", "-1m"), or a number of seconds; what is negative, and
// what would be longer than a century, is for ever (-1). Nothing where it is not given.
absl::StatusOr<std::optional<int64_t>> ReadKeepAlive(base::JsonValue keep_alive);

// model, stream, keep_alive, options, think, format, logprobs, top_logprobs.
absl::StatusOr<CommonFields> ReadCommon(base::JsonValue root, v1::GenerateRequest* request);

// How long a call may wait for its model: users of Ollama expect to wait for as long as it takes.
std::chrono::milliseconds LoadWaitOf(const Services& services);

// think → template variables.
absl::Status ReadThink(base::JsonValue think, v1::ChatPrompt* chat);

}  // namespace conclave::gateway::ollama
