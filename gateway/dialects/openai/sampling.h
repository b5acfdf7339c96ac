// The fields that chat and completions share: sampling, stopping, logit_bias, the vendors' extras.
#pragma once

#include "base/json.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::openai {

// Choices for one prompt. The API allows 128; more than a batch of them is several requests.
inline constexpr int64_t kChoicesMax = 16;

// Reads them from the request's root. INVALID_ARGUMENT names the field and its range; what a vendor
// offers and we do not is UNIMPLEMENTED, never dropped.
//   stop_max: stop strings allowed: 4 of chat, more of completions (lm-eval sends all it has).
absl::Status ReadSampling(base::JsonValue root, size_t stop_max, v1::GenerateRequest* request);

// seed: any integer of 64 bits.
absl::Status ReadSeed(base::JsonValue root, v1::SamplingParams* sampling);
// A list of stop strings, or a single one, each of 1 to 1,024 bytes.
absl::Status ReadStop(base::JsonValue stop, size_t stop_max, v1::StopConditions* out);

// prompt_logprobs, vLLM's: alternatives for each token of the prompt. Not in a stream.
absl::Status ReadPromptLogprobs(base::JsonValue root, v1::GenerateRequest* request);

// stream, and stream_options.include_usage.
struct StreamOptions {
  bool stream = false;
  bool include_usage = false;
};
absl::StatusOr<StreamOptions> ReadStreamOptions(base::JsonValue root);

// What llama-server and KTransformers tell of an answer's making, when asked.
struct Reports {
  bool progress = false;  // return_progress: chunks that say how far the prompt is read
  bool timings = false;   // timings_per_token: "timings" in the last chunk, or the whole answer
  bool speed = false;     // return_speed: prefill_time and decode_time, in seconds, in usage
};
absl::StatusOr<Reports> ReadReports(base::JsonValue root);

// UNIMPLEMENTED when one of these is given and neither null, false nor empty (also "").
absl::Status RefuseFields(base::JsonValue root, std::initializer_list<std::string_view> names);

}  // namespace conclave::gateway::openai
