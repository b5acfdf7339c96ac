// A decoder of engine/models that embeds: what its last norm made of the last token is the vector
// of the text. Attention stays causal; keys and values are kept for one batch.
#pragma once

#include <memory>

#include "base/status.h"
#include "embed/encoder.h"

namespace conclave::embed {

// The architecture is one of the engine's. Rerankers among them answer with one of two words after
// the pair: cls.output.weight [2][hidden] gives "yes" and "no", and the score is their difference,
// whose sigmoid is the probability of "yes". UNIMPLEMENTED for pooling that is neither.
absl::StatusOr<std::unique_ptr<Encoder>> OpenCausal(EncoderFile file,
                                                    const EncoderOptions& options);

}  // namespace conclave::embed
