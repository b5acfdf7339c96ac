// Causal self-attention with grouped query heads over the paged cache. Biases, norms of queries and
// keys, sliding windows, sinks and ALiBi as DecoderTraits say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "engine/models/architecture.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/norm.h"
#include "engine/models/blocks/rope.h"
#include "engine/models/blocks/traits.h"

namespace conclave::engine {

// The rotation of a step's rows, filled once per step: nothing where positions do not rotate.
struct Rotation {
  const Rope* rope = nullptr;
  float* cos_sin = nullptr;  // [rows][rope_dim/2][2]
};

// Buffers of one step, shared by all layers. Queries, keys and values are pieces of one row each
// where one matrix makes them all, rows of their own otherwise.
struct AttentionScratch {
  float* q = nullptr;         // [rows][num_heads * head_dim]
  float* k = nullptr;         // [rows][num_kv_heads * head_dim]
  float* v = nullptr;         // [rows][num_kv_heads * value_dim]
  float* attended = nullptr;  // [rows][num_heads * value_dim]

  static int64_t Bytes(const HParams& hparams, int64_t rows);
  static AttentionScratch Take(Arena& arena, const HParams& hparams, int64_t rows);
};

class Attention final {
 public:
  // `prefix` is "blk.N."
  static absl::StatusOr<Attention> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                        const DecoderTraits& traits, int32_t layer_index,
                                        const std::string& prefix);

  // out[rows][hidden] = attention of x[rows][hidden], keys and values stored on the way; out may be
  // x.
  void Apply(const StepContext& step, const HParams& hparams, const Rotation& rotation,
             const AttentionScratch& scratch, const float* x, float* out) const;

  int64_t bytes() const {
    return qkv_.bytes() + q_.bytes() + k_.bytes() + v_.bytes() + output_.bytes();
  }

 private:
  Linear qkv_;  // or the three
  Linear q_, k_, v_;
  Linear output_;
  std::optional<Norm> q_norm_, k_norm_;
  bool norm_rows_ = false;
  int32_t layer_index_ = 0;
  int32_t window_ = 0;
  Buffer sinks_;   // [num_heads], or none
  Buffer slopes_;  // [num_heads], or none
};

// ALiBi's slopes (Press et al., 2021), with max_bias 8: powers of 2^(−8/n) for the first n heads, n
// the power of two below their number, and odd powers of its root for the others.
std::vector<float> AlibiSlopes(int32_t num_heads);

}  // namespace conclave::engine
