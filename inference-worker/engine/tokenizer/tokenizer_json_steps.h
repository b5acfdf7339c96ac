// The parts of a tokenizer.json that are lists of steps: normalizer, pre_tokenizer, decoder.
#pragma once

#include <memory>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "engine/tokenizer/cutter.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/token_text.h"

namespace conclave::engine {

// All three: nothing for null. INVALID_ARGUMENT for a field of the wrong kind or out of range,
// UNIMPLEMENTED for a type of step that is not known; both begin with the JSON path.
absl::Status ReadNormalizer(const base::JsonValue& value, Normalizer* normalizer);

struct Cuts {
  std::vector<std::unique_ptr<const CutStep>> steps;
  // The last step was to spell words as byte_level.h does. It was left out: a model that works on
  // bytes does that by itself.
  bool byte_level = false;
};
absl::StatusOr<Cuts> ReadPreTokenizer(const base::JsonValue& value);

absl::Status ReadDecoder(const base::JsonValue& value, TokenText* text);

// "type" of a step.
absl::StatusOr<std::string> StepType(const base::JsonValue& step);
// UNIMPLEMENTED "<path>: <what>".
absl::Status NotSupported(const base::JsonValue& value, std::string_view what);

}  // namespace conclave::engine
