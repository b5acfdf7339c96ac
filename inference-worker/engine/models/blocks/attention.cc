#include "engine/models/blocks/attention.h"

#include <cmath>

namespace conclave::engine {
namespace {

struct Widths {
  int64_t q, k, v, attended;  // floats per row

  explicit Widths(const HParams& h)
      : q(int64_t{h.num_heads} * h.head_dim),
        k(int64_t{h.num_kv_heads} * h.head_dim),
        v(int64_t{h.num_kv_heads} * h.value_dim),
        attended(int64_t{h.num_heads} * h.value_dim) {}
};

}  // namespace

int64_t AttentionScratch::Bytes(const HParams& hparams, int64_t rows) {
  const Widths w(hparams);
  return Arena::Bytes<float>(rows * w.q) + Arena::Bytes<float>(rows * w.k) +
         Arena::Bytes<float>(rows * w.v) + Arena::Bytes<float>(rows * w.attended) +
         Arena::Bytes<float>(rows * hparams.rope.dim);
}

AttentionScratch AttentionScratch::Take(Arena& arena, const HParams& hparams, int64_t rows) {
  const Widths w(hparams);
  return {.q = arena.Take<float>(rows * w.q).data(),
          .k = arena.Take<float>(rows * w.k).data(),
          .v = arena.Take<float>(rows * w.v).data(),
          .attended = arena.Take<float>(rows * w.attended).data(),
          .cos_sin = arena.Take<float>(rows * hparams.rope.dim).data()};
}

absl::StatusOr<Attention> Attention::Bind(Binder& binder, Kernels& kernels, const HParams& h,
                                          const std::string& prefix, BiasRule qkv_bias,
                                          bool qk_norm) {
  const Widths w(h);
  Attention attention;
  ASSIGN_OR_RETURN(attention.q_,
                   Linear::Bind(binder, kernels, prefix + "attn_q", w.q, h.hidden, qkv_bias));
  ASSIGN_OR_RETURN(attention.k_,
                   Linear::Bind(binder, kernels, prefix + "attn_k", w.k, h.hidden, qkv_bias));
  ASSIGN_OR_RETURN(attention.v_,
                   Linear::Bind(binder, kernels, prefix + "attn_v", w.v, h.hidden, qkv_bias));
  // Only files whose q, k and v may have biases have one here too.
  const BiasRule output_bias =
      qkv_bias == BiasRule::kOptional ? BiasRule::kOptional : BiasRule::kNone;
  ASSIGN_OR_RETURN(attention.output_, Linear::Bind(binder, kernels, prefix + "attn_output",
                                                   h.hidden, w.attended, output_bias));
  if (qk_norm) {
    ASSIGN_OR_RETURN(attention.q_norm_,
                     RmsNorm::Bind(binder, kernels, prefix + "attn_q_norm", h.head_dim, h.rms_eps));
    ASSIGN_OR_RETURN(attention.k_norm_,
                     RmsNorm::Bind(binder, kernels, prefix + "attn_k_norm", h.head_dim, h.rms_eps));
  }
  return attention;
}

void Attention::Apply(const StepContext& step, const HParams& h, const Rope& rope,
                      int32_t layer_index, const AttentionScratch& s, const float* x,
                      float* out) const {
  const Widths w(h);
  const auto rows = static_cast<int64_t>(step.tokens.size());
  Kernels& kernels = step.kernels;
  kernels.Matmul({q_.To(s.q, w.q), k_.To(s.k, w.k), v_.To(s.v, w.v)}, x, h.hidden, rows);
  if (q_norm_.has_value()) {
    q_norm_->Apply(kernels, s.q, h.head_dim, rows * h.num_heads, s.q, h.head_dim);
    k_norm_->Apply(kernels, s.k, h.head_dim, rows * h.num_kv_heads, s.k, h.head_dim);
  }
  kernels.Rope(rope.style(), s.q, w.q, rows, h.num_heads, h.head_dim, rope.dim(), s.cos_sin);
  kernels.Rope(rope.style(), s.k, w.k, rows, h.num_kv_heads, h.head_dim, rope.dim(), s.cos_sin);
  void* const kv = step.kv.layer(layer_index);
  kernels.StoreKv(step.kv.layout(), kv, s.k, w.k, s.v, w.v);
  kernels.Attention({.layout = step.kv.layout(),
                     .kv = kv,
                     .num_heads = h.num_heads,
                     .scale = 1.0f / std::sqrt(static_cast<float>(h.head_dim)),
                     .q = s.q,
                     .q_stride = w.q,
                     .out = s.attended,
                     .out_stride = w.attended});
  kernels.Matmul({output_.To(out, h.hidden)}, s.attended, w.attended, rows);
}

}  // namespace conclave::engine
