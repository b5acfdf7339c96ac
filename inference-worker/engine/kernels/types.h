// Small enumerations and plain data of the operation table. A leaf header: files compiled for one
// instruction set include it, so it holds no code.
#pragma once

#include <cstdint>

namespace conclave::engine {

enum class Activation {
  kSilu,
  kGeluErf,
  kGeluTanh,
  // gpt-oss's gated unit: with g = min(gate, 7) and u = clamp(up, −7, 7), g · sigmoid(1.702 g) ·
  // (u + 1). Of gate and up together only.
  kSwigluOai,
};

// What a router makes of its logits.
enum class RouterScore {
  kSoftmax,            // over all experts
  kSigmoid,            // of each
  kSoftmaxOfSelected,  // the logits choose, the softmax is over the chosen
};

enum class RopeStyle {
  kNorm,  // pairs (2i, 2i + 1): llama files
  kNeox,  // pairs (i, i + rope_dim/2): qwen and most others
};

// Rows of logits are looked at in blocks of this many.
inline constexpr int64_t kScanBlock = 256;
// A row is weighed with so many factors at most.
inline constexpr int kRowFactors = 2;

// What happens to a number of a row of logits.
struct RowChange {
  enum class Kind : int32_t {
    kAdd,    // x + value
    kRepel,  // x > 0 ? x / value : x · value
    kSet,    // value
  };
  int32_t id = 0;  // which number
  Kind kind = Kind::kAdd;
  float value = 0;
};
inline constexpr int kChangeLists = 3;  // of a row, one after the other

}  // namespace conclave::engine
