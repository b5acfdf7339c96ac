// One embedding request, from a decoded request to its vectors, for every dialect.
#pragma once

#include <span>
#include <string>

#include "gateway/dialects/generation.h"

namespace conclave::gateway {

// Model look-up, admission, the call. INVALID_ARGUMENT when the model does not embed.
Task<absl::StatusOr<Embeddings>> EmbedInputs(const Services& services, Exchange& exchange,
                                             v1::EmbedRequest request);

// A JSON array of numbers, each the shortest text that reads back as the same float.
std::string EncodeFloats(std::span<const float> values);

}  // namespace conclave::gateway
