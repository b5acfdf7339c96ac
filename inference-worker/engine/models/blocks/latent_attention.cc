#include "engine/models/blocks/latent_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

struct Widths {
  int64_t nope, rope, latent, key;  // of a head; of the latent, alone and with the rotated key
  int64_t heads, value;

  explicit Widths(const HParams& h)
      : nope(h.head_dim - h.rope.dim),
        rope(h.rope.dim),
        latent(h.kv_lora),
        key(latent + rope),
        heads(h.num_heads),
        value(h.value_dim) {}
};

// Scores grow with the context where the file says so (yarn_log_multiplier).
double ScoreScale(const HParams& h) {
  const RopeParams& rope = h.rope;
  if (rope.scaling != RopeScaling::kYarn || rope.log_multiplier == 0) return h.score_scale;
  const double m = rope.attention_factor * (1.0 + rope.log_multiplier * std::log(rope.factor));
  return m * m * h.score_scale;
}

// The type that holds the elements of `dtype` turned over: its own where elements stand alone.
DType TurnedType(DType dtype) {
  const bool alone = dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
  return alone ? dtype : DType::kF16;
}

// Matrices of a head turned over: [heads][rows][cols] to [heads][cols][rows].
class TurnedStack final {
 public:
  static absl::StatusOr<TurnedStack> Make(DType from, int64_t heads, int64_t rows, int64_t cols) {
    TurnedStack stack;
    stack.view_ = {.dtype = TurnedType(from), .shape = Shape({heads, cols, rows})};
    ASSIGN_OR_RETURN(stack.bytes_, Buffer::Allocate(stack.view_.bytes()));
    stack.view_.data = stack.bytes_.data();
    return stack;
  }

  // `row(i)` of the head as the file has it.
  template <typename Row>
  void Fill(const QuantFormat& from, int64_t head, const Row& row) {
    const int64_t cols = view_.shape[1], rows = view_.shape[2];
    std::vector<float> values(static_cast<size_t>(cols));
    std::vector<float> turned(static_cast<size_t>(rows * cols));
    for (int64_t i = 0; i < rows; ++i) {
      from.dequantize_row(row(i), values.data(), cols);
      for (int64_t j = 0; j < cols; ++j) {
        turned[static_cast<size_t>(j * rows + i)] = values[static_cast<size_t>(j)];
      }
    }
    FindFormat(view_.dtype)
        ->quantize_row(turned.data(), bytes_.data() + head * cols * view_.row_bytes(), rows * cols);
  }

  const TensorView& view() const { return view_; }

 private:
  TensorView view_;
  Buffer bytes_;
};

struct HeadMatrices {
  PackedMatrix to_latent, keys_from_latent, from_latent;
};

absl::StatusOr<const QuantFormat*> FormatOf(const Binder& binder, const std::string& name,
                                            const TensorView& view) {
  const QuantFormat* const format = FindFormat(view.dtype);
  if (format != nullptr) return format;
  return base::Unimplemented(std::string(binder.source().path()) + ": " + name +
                             ": no arithmetic for " + std::string(NameOf(view.dtype)));
}

// Rows of every head that lie `head_rows` apart, as one stack.
absl::StatusOr<PackedMatrix> PackRowsOfHeads(const Loading& load, const std::string& name,
                                             const TensorView& all, int64_t heads,
                                             int64_t head_rows, int64_t first, int64_t count) {
  TensorView part{.dtype = all.dtype, .shape = Shape({heads, count, all.cols()})};
  ASSIGN_OR_RETURN(Buffer bytes, Buffer::Allocate(part.bytes()));
  const int64_t head_bytes = count * part.row_bytes();
  for (int64_t head = 0; head < heads; ++head) {
    std::memcpy(bytes.data() + head * head_bytes, all.row(head * head_rows + first),
                static_cast<size_t>(head_bytes));
  }
  part.data = bytes.data();
  return PackAs(load.binder, load.kernels, name, part);
}

// attn_kv_b holds for each head the rows of W_UK, then those of W_UV, [nope + value][latent].
absl::StatusOr<HeadMatrices> BindTogether(const Loading& load, const std::string& name,
                                          const Widths& w) {
  const int64_t head_rows = w.nope + w.value;
  ASSIGN_OR_RETURN(const TensorView both,
                   load.binder.Get(name, Shape({w.heads * head_rows, w.latent})));
  ASSIGN_OR_RETURN(const QuantFormat* const from, FormatOf(load.binder, name, both));
  HeadMatrices matrices;
  ASSIGN_OR_RETURN(matrices.from_latent,
                   PackRowsOfHeads(load, name, both, w.heads, head_rows, w.nope, w.value));
  if (load.numerics == Numerics::kFast) {
    ASSIGN_OR_RETURN(matrices.keys_from_latent,
                     PackRowsOfHeads(load, name, both, w.heads, head_rows, 0, w.nope));
  }
  ASSIGN_OR_RETURN(TurnedStack turned, TurnedStack::Make(both.dtype, w.heads, w.nope, w.latent));
  for (int64_t head = 0; head < w.heads; ++head) {
    turned.Fill(*from, head, [&](int64_t i) { return both.row(head * head_rows + i); });
  }
  ASSIGN_OR_RETURN(matrices.to_latent, PackAs(load.binder, load.kernels, name, turned.view()));
  load.binder.source().DoneWith(both);
  return matrices;
}

absl::StatusOr<HeadMatrices> BindHeads(const Loading& load, const std::string& prefix,
                                       const Widths& w) {
  const std::string both = prefix + "attn_kv_b.weight";
  if (load.binder.source().FindTensor(both) != nullptr) return BindTogether(load, both, w);
  HeadMatrices matrices;
  const std::string name = prefix + "attn_k_b.weight";
  if (load.numerics == Numerics::kFast) {
    ASSIGN_OR_RETURN(const TensorView keys,
                     load.binder.Get(name, Shape({w.heads, w.latent, w.nope})));
    ASSIGN_OR_RETURN(const QuantFormat* const from, FormatOf(load.binder, name, keys));
    ASSIGN_OR_RETURN(TurnedStack turned, TurnedStack::Make(keys.dtype, w.heads, w.latent, w.nope));
    for (int64_t head = 0; head < w.heads; ++head) {
      turned.Fill(*from, head, [&](int64_t i) { return keys.row(head * w.latent + i); });
    }
    ASSIGN_OR_RETURN(matrices.keys_from_latent,
                     PackAs(load.binder, load.kernels, name, turned.view()));
  }
  ASSIGN_OR_RETURN(matrices.to_latent,
                   BindPacked(load.binder, load.kernels, name, Shape({w.heads, w.latent, w.nope})));
  ASSIGN_OR_RETURN(matrices.from_latent,
                   BindPacked(load.binder, load.kernels, prefix + "attn_v_b.weight",
                              Shape({w.heads, w.value, w.latent})));
  return matrices;
}

}  // namespace

int64_t LatentScratch::Bytes(const HParams& h, int64_t rows) {
  const Widths w(h);
  return Arena::Bytes<float>(rows * h.q_lora) + Arena::Bytes<float>(rows * w.heads * h.head_dim) +
         Arena::Bytes<float>(rows * w.heads * w.key) + Arena::Bytes<float>(rows * w.key) +
         Arena::Bytes<float>(rows * w.heads * w.latent) +
         Arena::Bytes<float>(rows * w.heads * w.value);
}

LatentScratch LatentScratch::Take(Arena& arena, const HParams& h, int64_t rows) {
  const Widths w(h);
  return {.q_latent = arena.Take<float>(rows * h.q_lora).data(),
          .q = arena.Take<float>(rows * w.heads * h.head_dim).data(),
          .query = arena.Take<float>(rows * w.heads * w.key).data(),
          .key = arena.Take<float>(rows * w.key).data(),
          .seen = arena.Take<float>(rows * w.heads * w.latent).data(),
          .attended = arena.Take<float>(rows * w.heads * w.value).data()};
}

KvLayout LatentAttention::Layout(const HParams& h, KvType type) {
  return {.num_kv_heads = 1,
          .head_dim = h.kv_lora + h.rope.dim,
          .value_dim = h.kv_lora,
          .type = type,
          .values_in_keys = true};
}

int32_t LatentAttention::ExpandFrom(const HParams& h) {
  const Widths w(h);
  const int64_t expansion = w.latent * (w.nope + w.value);
  const int64_t saved = w.key + w.latent - (h.head_dim + w.value);
  if (saved <= 0) return std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(std::min<int64_t>(expansion / saved + 1, 1 << 24));
}

absl::StatusOr<LatentAttention> LatentAttention::Bind(const Loading& load, const HParams& h,
                                                      int32_t layer_index,
                                                      const std::string& prefix) {
  Binder& binder = load.binder;
  Kernels& kernels = load.kernels;
  RETURN_IF_ERROR(kernels.Require(Feature::kLatentAttention));
  if (load.numerics == Numerics::kFast) {
    RETURN_IF_ERROR(kernels.Require(Feature::kExpandedAttention));
  }
  const Widths w(h);
  const auto bind = [&](const char* name, int64_t out, int64_t in) {
    return Linear::Bind(binder, kernels, prefix + name, out, in, BiasRule::kNone);
  };
  LatentAttention attention;
  attention.layer_index_ = layer_index;
  attention.scale_ = static_cast<float>(ScoreScale(h));
  const int64_t queries = w.heads * h.head_dim;
  if (h.q_lora > 0) {
    ASSIGN_OR_RETURN(attention.q_down_, bind("attn_q_a", h.q_lora, h.hidden));
    ASSIGN_OR_RETURN(attention.q_norm_,
                     Norm::Bind(binder, kernels, prefix + "attn_q_a_norm", h.q_lora, h.norm_eps));
    ASSIGN_OR_RETURN(attention.q_up_, bind("attn_q_b", queries, h.q_lora));
  } else {
    ASSIGN_OR_RETURN(attention.q_up_, bind("attn_q", queries, h.hidden));
  }
  ASSIGN_OR_RETURN(attention.latent_, bind("attn_kv_a_mqa", w.key, h.hidden));
  ASSIGN_OR_RETURN(attention.latent_norm_,
                   Norm::Bind(binder, kernels, prefix + "attn_kv_a_norm", w.latent, h.norm_eps));
  ASSIGN_OR_RETURN(HeadMatrices matrices, BindHeads(load, prefix, w));
  attention.to_latent_ = std::move(matrices.to_latent);
  attention.from_latent_ = std::move(matrices.from_latent);
  attention.keys_from_latent_ = std::move(matrices.keys_from_latent);
  ASSIGN_OR_RETURN(attention.output_, bind("attn_output", h.hidden, w.heads * w.value));
  return attention;
}

void LatentAttention::Apply(const StepContext& step, const HParams& h, const Rotation& rotation,
                            const LatentScratch& s, const float* x, float* out) const {
  const Widths w(h);
  const auto rows = static_cast<int64_t>(step.tokens.size());
  Kernels& kernels = step.kernels;
  const int64_t q_stride = w.heads * h.head_dim;
  if (h.q_lora > 0) {
    kernels.Matmul({q_down_.To(s.q_latent, h.q_lora), latent_.To(s.key, w.key)}, x, h.hidden, rows);
    q_norm_->Apply(kernels, s.q_latent, h.q_lora, rows, s.q_latent, h.q_lora);
    kernels.Matmul({q_up_.To(s.q, q_stride)}, s.q_latent, h.q_lora, rows);
  } else {
    kernels.Matmul({q_up_.To(s.q, q_stride), latent_.To(s.key, w.key)}, x, h.hidden, rows);
  }
  latent_norm_->Apply(kernels, s.key, w.key, rows, s.key, w.key);
  const Rope& rope = *rotation.rope;
  kernels.Rope(rope.style(), s.q + w.nope, q_stride, rows, h.num_heads, h.head_dim, rope.dim(),
               rotation.cos_sin);
  kernels.Rope(rope.style(), s.key + w.latent, w.key, rows, 1, h.rope.dim, rope.dim(),
               rotation.cos_sin);
  void* const kv = step.kv.layer(layer_index_);
  kernels.StoreKv(step.kv.layout(), kv, s.key, w.key, nullptr, 0);
  const int32_t absorb_to =
      keys_from_latent_.empty() ? std::numeric_limits<int32_t>::max() : ExpandFrom(h) - 1;
  Absorbed(step, h, s, kv, absorb_to);
  for (size_t i = 0; i < step.spans.size(); ++i) {
    if (step.spans[i].rows <= absorb_to) continue;
    kernels.ExpandedAttention({.layout = step.kv.layout(),
                               .kv = kv,
                               .keys = &keys_from_latent_,
                               .values = &from_latent_,
                               .scale = scale_,
                               .q = s.q,
                               .q_stride = q_stride,
                               .out = s.attended,
                               .out_stride = w.heads * w.value},
                              static_cast<int32_t>(i));
  }
  kernels.Matmul({output_.To(out, h.hidden)}, s.attended, w.heads * w.value, rows);
}

void LatentAttention::Absorbed(const StepContext& step, const HParams& h, const LatentScratch& s,
                               const void* kv, int32_t max_span_rows) const {
  const Widths w(h);
  Kernels& kernels = step.kernels;
  const int64_t q_stride = w.heads * h.head_dim;
  const int64_t query_stride = w.heads * w.key;
  const int64_t seen_stride = w.heads * w.latent;
  const int64_t out_stride = w.heads * w.value;
  // Runs of spans side by side, as few as there are: all of a step, unless some are expanded.
  const auto for_runs = [&](const auto& do_rows) {
    int64_t first = 0, rows = 0;
    for (const AttentionSpan& span : step.spans) {
      if (span.rows <= max_span_rows) {
        if (rows == 0) first = span.first_row;
        rows += span.rows;
      } else if (rows > 0) {
        do_rows(first, rows);
        rows = 0;
      }
    }
    if (rows > 0) do_rows(first, rows);
  };
  for_runs([&](int64_t first, int64_t rows) {
    const float* const q = s.q + first * q_stride;
    float* const query = s.query + first * query_stride;
    kernels.MatmulHeads(to_latent_, q, q_stride, h.head_dim, rows, query, query_stride, w.key);
    kernels.CopyRows(q + w.nope, h.head_dim, rows * w.heads, w.rope, query + w.latent, w.key);
  });
  kernels.Attention({.layout = step.kv.layout(),
                     .kv = kv,
                     .num_heads = h.num_heads,
                     .scale = scale_,
                     .q = s.query,
                     .q_stride = query_stride,
                     .out = s.seen,
                     .out_stride = seen_stride,
                     .max_span_rows = max_span_rows});
  for_runs([&](int64_t first, int64_t rows) {
    kernels.MatmulHeads(from_latent_, s.seen + first * seen_stride, seen_stride, w.latent, rows,
                        s.attended + first * out_stride, out_stride, w.value);
  });
}

}  // namespace conclave::engine
