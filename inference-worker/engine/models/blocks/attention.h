// Causal self-attention with grouped query heads over the paged cache. Optional biases and optional
// RMS norm of each query and key head before rotation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "engine/models/architecture.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/norm.h"
#include "engine/models/blocks/rope.h"

namespace conclave::engine {

// Buffers of one step, shared by all layers.
struct AttentionScratch {
  float* q = nullptr;         // [rows][num_heads * head_dim]
  float* k = nullptr;         // [rows][num_kv_heads * head_dim]
  float* v = nullptr;         // [rows][num_kv_heads * value_dim]
  float* attended = nullptr;  // [rows][num_heads * value_dim]
  float* cos_sin = nullptr;   // [rows][rope_dim/2][2], filled once per step

  static int64_t Bytes(const HParams& hparams, int64_t rows);
  static AttentionScratch Take(Arena& arena, const HParams& hparams, int64_t rows);
};

class Attention final {
 public:
  // `prefix` is "blk.N."
  static absl::StatusOr<Attention> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                        const std::string& prefix, BiasRule qkv_bias, bool qk_norm);

  // out[rows][hidden] = attention of x[rows][hidden], keys and values stored on the way; out may be
  // x.
  void Apply(const StepContext& step, const HParams& hparams, const Rope& rope, int32_t layer_index,
             const AttentionScratch& scratch, const float* x, float* out) const;

  int64_t bytes() const { return q_.bytes() + k_.bytes() + v_.bytes() + output_.bytes(); }

 private:
  Linear q_, k_, v_, output_;
  std::optional<RmsNorm> q_norm_, k_norm_;
};

}  // namespace conclave::engine
