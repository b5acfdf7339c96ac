// Small enumerations of the operation table. A leaf header: files compiled for one instruction set
// include it, so it holds no code.
#pragma once

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

}  // namespace conclave::engine
