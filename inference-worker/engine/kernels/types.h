// Small enumerations of the operation table. A leaf header: files compiled for one instruction set
// include it, so it holds no code.
#pragma once

namespace conclave::engine {

enum class Activation { kSilu, kGeluErf, kGeluTanh };

enum class RopeStyle {
  kNorm,  // pairs (2i, 2i + 1): llama files
  kNeox,  // pairs (i, i + rope_dim/2): qwen and most others
};

}  // namespace conclave::engine
