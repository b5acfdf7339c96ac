// The refusal of a prompt that does not fit into a model's context.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace conclave::backends {

// OUT_OF_RANGE with reason context_length_exceeded. `num_tokens` is a number, perhaps with words
// before it. Clients of OpenAI's and of Anthropic's API know this refusal by its text alone, the
// first by "maximum context length is", the second by "prompt is too long", so it says both.
inline absl::Status ContextLengthExceeded(int64_t context_length, std::string_view num_tokens) {
  return base::WithReason(
      absl::OutOfRangeError(
          absl::StrCat("This model's maximum context length is ", context_length,
                       " tokens, the prompt is too long: ", std::string(num_tokens), " tokens")),
      "context_length_exceeded");
}

}  // namespace conclave::backends
