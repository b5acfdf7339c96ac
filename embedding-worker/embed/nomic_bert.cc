// nomic-embed-text v1 and v1.5 (Nussbaum et al., 2024): rotary positions, SwiGLU, no biases.
#include "embed/post_norm.h"

namespace conclave::embed {

absl::StatusOr<std::unique_ptr<Encoder>> OpenNomicBert(EncoderFile file,
                                                       const EncoderOptions& options) {
  return OpenPostNorm({.architecture = "nomic-bert", .gated = true}, std::move(file), options);
}

}  // namespace conclave::embed
