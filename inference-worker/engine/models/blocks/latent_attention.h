// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) in its absorbed form: what is kept
// per token is the latent c of kv_lora numbers and one rotated key of rope_dim numbers that all
// heads share, and queries are brought into the latent's space instead of keys out of it:
//   q'_h = W_UK,hᵀ q_nope,h;  score_j = (q'_h · c_j + q_pe,h · k_pe,j) · scale;
//   o_h = W_UV,h Σ_j p_j c_j
// One form for prompts and for single tokens: expanded attention, which makes keys and values of
// every head first, is cheaper for many rows at once, but rounds differently, and a token's result
// may not depend on how many come with it. Numerics::kFast takes it all the same
// (docs/decisions/0009).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "engine/models/architecture.h"
#include "engine/models/blocks/attention.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/norm.h"
#include "engine/models/blocks/rope.h"

namespace conclave::engine {

// Buffers of one step, shared by all layers.
struct LatentScratch {
  float* q_latent = nullptr;  // [rows][q_lora]
  float* q = nullptr;         // [rows][num_heads][head_dim]: q_nope, q_pe
  float* query = nullptr;     // [rows][num_heads][kv_lora + rope_dim]
  float* key = nullptr;       // [rows][kv_lora + rope_dim]
  float* seen = nullptr;      // [rows][num_heads][kv_lora]
  float* attended = nullptr;  // [rows][num_heads][value_dim]

  static int64_t Bytes(const HParams& hparams, int64_t rows);
  static LatentScratch Take(Arena& arena, const HParams& hparams, int64_t rows);
};

class LatentAttention final {
 public:
  // `prefix` is "blk.N.". W_UK and W_UV are attn_k_b and attn_v_b, or lie together in attn_kv_b
  // (older files).
  static absl::StatusOr<LatentAttention> Bind(const Loading& load, const HParams& hparams,
                                              int32_t layer_index, const std::string& prefix);

  static KvLayout Layout(const HParams& hparams, KvType type);

  // out[rows][hidden] = attention of x[rows][hidden], latents stored on the way; out may be x.
  void Apply(const StepContext& step, const HParams& hparams, const Rotation& rotation,
             const LatentScratch& scratch, const float* x, float* out) const;

  // How many rows of a sequence at once make expanded attention the cheaper one, by operations per
  // head and key: 171 for DeepSeek-V3.
  static int32_t ExpandFrom(const HParams& hparams);

  int64_t bytes() const {
    return q_down_.bytes() + q_up_.bytes() + latent_.bytes() + to_latent_.bytes() +
           from_latent_.bytes() + keys_from_latent_.bytes() + output_.bytes();
  }

 private:
  // Rows of spans that are not expanded.
  void Absorbed(const StepContext& step, const HParams& hparams, const LatentScratch& scratch,
                const void* kv, int32_t max_span_rows) const;

  Linear q_down_;  // [q_lora][hidden], where queries have a latent
  std::optional<Norm> q_norm_;
  Linear q_up_;    // [num_heads * head_dim][q_lora or hidden]
  Linear latent_;  // [kv_lora + rope_dim][hidden]
  std::optional<Norm> latent_norm_;
  PackedMatrix to_latent_;         // W_UKᵀ: [num_heads][kv_lora][head_dim - rope_dim]
  PackedMatrix from_latent_;       // W_UV: [num_heads][value_dim][kv_lora]
  PackedMatrix keys_from_latent_;  // W_UK: [num_heads][head_dim - rope_dim][latent]; kFast only
  Linear output_;                  // [hidden][num_heads * value_dim]
  int32_t layer_index_ = 0;
  float scale_ = 0;
};

}  // namespace conclave::engine
