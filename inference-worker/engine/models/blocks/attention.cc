#include "engine/models/blocks/attention.h"

#include <bit>
#include <cmath>
#include <vector>

namespace conclave::engine {
namespace {

struct Widths {
  int64_t q, k, v, attended;  // floats per row

  explicit Widths(const HParams& h)
      : q(int64_t{h.num_heads} * h.head_dim),
        k(int64_t{h.num_kv_heads} * h.head_dim),
        v(int64_t{h.num_kv_heads} * h.value_dim),
        attended(int64_t{h.num_heads} * h.value_dim) {}

  int64_t qkv() const { return q + k + v; }
};

}  // namespace

std::vector<float> AlibiSlopes(int32_t num_heads) {
  constexpr double kMaxBias = 8;
  const auto power = static_cast<int32_t>(std::bit_floor(static_cast<uint32_t>(num_heads)));
  std::vector<float> slopes;
  for (int32_t h = 0; h < num_heads; ++h) {
    const double exponent =
        h < power ? kMaxBias / power * (h + 1) : kMaxBias / 2 / power * (2 * (h - power) + 1);
    slopes.push_back(static_cast<float>(std::exp2(-exponent)));
  }
  return slopes;
}

int64_t AttentionScratch::Bytes(const HParams& hparams, int64_t rows) {
  const Widths w(hparams);
  return Arena::Bytes<float>(rows * w.qkv()) + Arena::Bytes<float>(rows * w.attended);
}

AttentionScratch AttentionScratch::Take(Arena& arena, const HParams& hparams, int64_t rows) {
  const Widths w(hparams);
  float* const qkv = arena.Take<float>(rows * w.qkv()).data();
  return {.q = qkv,
          .k = qkv + rows * w.q,
          .v = qkv + rows * (w.q + w.k),
          .attended = arena.Take<float>(rows * w.attended).data()};
}

absl::StatusOr<Attention> Attention::Bind(Binder& binder, Kernels& kernels, const HParams& h,
                                          const DecoderTraits& traits, int32_t layer_index,
                                          const std::string& prefix) {
  const Widths w(h);
  const auto bind = [&](const char* name, int64_t out, int64_t in, BiasRule bias) {
    return Linear::Bind(binder, kernels, prefix + name, out, in, bias);
  };
  Attention attention;
  attention.layer_index_ = layer_index;
  if (traits.fused_qkv) {
    ASSIGN_OR_RETURN(attention.qkv_, bind("attn_qkv", w.qkv(), h.hidden, traits.qkv_bias));
  } else {
    ASSIGN_OR_RETURN(attention.q_, bind("attn_q", w.q, h.hidden, traits.qkv_bias));
    ASSIGN_OR_RETURN(attention.k_, bind("attn_k", w.k, h.hidden, traits.qkv_bias));
    ASSIGN_OR_RETURN(attention.v_, bind("attn_v", w.v, h.hidden, traits.qkv_bias));
  }
  ASSIGN_OR_RETURN(attention.output_,
                   bind("attn_output", h.hidden, w.attended, traits.attention_output_bias));
  const bool has_norms = binder.source().FindTensor(prefix + "attn_q_norm.weight") != nullptr;
  if (traits.qk_norm != QkNorm::kNone && (traits.qk_norm != QkNorm::kOptionalHead || has_norms)) {
    attention.norm_rows_ = traits.qk_norm == QkNorm::kRow;
    const int64_t q = attention.norm_rows_ ? w.q : h.head_dim;
    const int64_t k = attention.norm_rows_ ? w.k : h.head_dim;
    ASSIGN_OR_RETURN(attention.q_norm_,
                     Norm::Bind(binder, kernels, prefix + "attn_q_norm", q, h.norm_eps));
    ASSIGN_OR_RETURN(attention.k_norm_,
                     Norm::Bind(binder, kernels, prefix + "attn_k_norm", k, h.norm_eps));
  }
  if (h.slides[static_cast<size_t>(layer_index)]) {
    RETURN_IF_ERROR(kernels.Require(Feature::kSlidingWindow));
    attention.window_ = h.window;
  }
  if (traits.sinks) {
    RETURN_IF_ERROR(kernels.Require(Feature::kAttentionSinks));
    ASSIGN_OR_RETURN(attention.sinks_, BindBias(binder, kernels, prefix + "attn_sinks.weight",
                                                Shape({h.num_heads}), BiasRule::kRequired));
  }
  if (traits.alibi) {
    RETURN_IF_ERROR(kernels.Require(Feature::kAlibi));
    ASSIGN_OR_RETURN(attention.slopes_, kernels.PackVector(AlibiSlopes(h.num_heads)));
  }
  return attention;
}

void Attention::Apply(const StepContext& step, const HParams& h, const Rotation& rotation,
                      const AttentionScratch& s, const float* x, float* out) const {
  const Widths w(h);
  const auto rows = static_cast<int64_t>(step.tokens.size());
  Kernels& kernels = step.kernels;
  const bool fused = !qkv_.weight.empty();
  float* const k = fused ? s.q + w.q : s.k;
  float* const v = fused ? s.q + w.q + w.k : s.v;
  const int64_t q_stride = fused ? w.qkv() : w.q;
  const int64_t k_stride = fused ? w.qkv() : w.k;
  const int64_t v_stride = fused ? w.qkv() : w.v;
  if (fused) {
    kernels.Matmul({qkv_.To(s.q, q_stride)}, x, h.hidden, rows);
  } else {
    kernels.Matmul({q_.To(s.q, w.q), k_.To(k, w.k), v_.To(v, w.v)}, x, h.hidden, rows);
  }
  if (q_norm_.has_value()) {
    const int64_t q_width = norm_rows_ ? w.q : h.head_dim;
    const int64_t k_width = norm_rows_ ? w.k : h.head_dim;
    q_norm_->Apply(kernels, s.q, q_width, rows * (w.q / q_width), s.q, q_width);
    k_norm_->Apply(kernels, k, k_width, rows * (w.k / k_width), k, k_width);
  }
  if (const Rope* const rope = rotation.rope; rope != nullptr) {
    kernels.Rope(rope->style(), s.q, q_stride, rows, h.num_heads, h.head_dim, rope->dim(),
                 rotation.cos_sin);
    kernels.Rope(rope->style(), k, k_stride, rows, h.num_kv_heads, h.head_dim, rope->dim(),
                 rotation.cos_sin);
  }
  void* const kv = step.kv.layer(layer_index_);
  kernels.StoreKv(step.kv.layout(), kv, k, k_stride, v, v_stride);
  kernels.Attention({.layout = step.kv.layout(),
                     .kv = kv,
                     .num_heads = h.num_heads,
                     .scale = static_cast<float>(h.score_scale),
                     .q = s.q,
                     .q_stride = q_stride,
                     .out = s.attended,
                     .out_stride = w.attended,
                     .window = window_,
                     .sinks = sinks_.as<float>(),
                     .alibi_slopes = slopes_.as<float>()});
  kernels.Matmul({output_.To(out, h.hidden)}, s.attended, w.attended, rows);
}

}  // namespace conclave::engine
