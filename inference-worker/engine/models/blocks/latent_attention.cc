#include "engine/models/blocks/latent_attention.h"

#include <cmath>
#include <cstring>
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

struct Halves {
  PackedMatrix to_latent, from_latent;
};

// attn_kv_b holds for each head the rows of W_UK, then those of W_UV, [nope + value][latent].
absl::StatusOr<Halves> SplitHeads(Binder& binder, Kernels& kernels, const std::string& name,
                                  const Widths& w) {
  const int64_t head_rows = w.nope + w.value;
  ASSIGN_OR_RETURN(const TensorView both, binder.Get(name, Shape({w.heads * head_rows, w.latent})));
  const QuantFormat* const from = FindFormat(both.dtype);
  if (from == nullptr) {
    return base::Unimplemented(std::string(binder.source().path()) + ": " + name +
                               ": no arithmetic for " + std::string(NameOf(both.dtype)));
  }
  TensorView values{.dtype = both.dtype, .shape = Shape({w.heads, w.value, w.latent})};
  ASSIGN_OR_RETURN(Buffer value_bytes, Buffer::Allocate(values.bytes()));
  TensorView keys{.dtype = TurnedType(both.dtype), .shape = Shape({w.heads, w.latent, w.nope})};
  ASSIGN_OR_RETURN(Buffer key_bytes, Buffer::Allocate(keys.bytes()));
  const QuantFormat* const to = FindFormat(keys.dtype);
  std::vector<float> row(static_cast<size_t>(w.latent));
  std::vector<float> turned(static_cast<size_t>(w.latent * w.nope));
  for (int64_t head = 0; head < w.heads; ++head) {
    for (int64_t i = 0; i < w.nope; ++i) {
      from->dequantize_row(both.row(head * head_rows + i), row.data(), w.latent);
      for (int64_t j = 0; j < w.latent; ++j) {
        turned[static_cast<size_t>(j * w.nope + i)] = row[static_cast<size_t>(j)];
      }
    }
    to->quantize_row(turned.data(), key_bytes.data() + head * w.latent * keys.row_bytes(),
                     w.latent * w.nope);
    std::memcpy(value_bytes.data() + head * w.value * values.row_bytes(),
                both.row(head * head_rows + w.nope),
                static_cast<size_t>(w.value * values.row_bytes()));
  }
  keys.data = key_bytes.data();
  values.data = value_bytes.data();
  binder.source().DoneWith(both);
  Halves halves;
  ASSIGN_OR_RETURN(halves.to_latent, PackAs(binder, kernels, name, keys));
  ASSIGN_OR_RETURN(halves.from_latent, PackAs(binder, kernels, name, values));
  return halves;
}

absl::StatusOr<Halves> BindHalves(Binder& binder, Kernels& kernels, const std::string& prefix,
                                  const Widths& w) {
  const std::string both = prefix + "attn_kv_b.weight";
  if (binder.source().FindTensor(both) != nullptr) return SplitHeads(binder, kernels, both, w);
  Halves halves;
  ASSIGN_OR_RETURN(halves.to_latent, BindPacked(binder, kernels, prefix + "attn_k_b.weight",
                                                Shape({w.heads, w.latent, w.nope})));
  ASSIGN_OR_RETURN(halves.from_latent, BindPacked(binder, kernels, prefix + "attn_v_b.weight",
                                                  Shape({w.heads, w.value, w.latent})));
  return halves;
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

absl::StatusOr<LatentAttention> LatentAttention::Bind(Binder& binder, Kernels& kernels,
                                                      const HParams& h, int32_t layer_index,
                                                      const std::string& prefix) {
  RETURN_IF_ERROR(kernels.Require(Feature::kLatentAttention));
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
  ASSIGN_OR_RETURN(Halves halves, BindHalves(binder, kernels, prefix, w));
  attention.to_latent_ = std::move(halves.to_latent);
  attention.from_latent_ = std::move(halves.from_latent);
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
  kernels.MatmulHeads(to_latent_, s.q, q_stride, h.head_dim, rows, s.query, w.heads * w.key, w.key);
  kernels.CopyRows(s.q + w.nope, h.head_dim, rows * w.heads, w.rope, s.query + w.latent, w.key);
  void* const kv = step.kv.layer(layer_index_);
  kernels.StoreKv(step.kv.layout(), kv, s.key, w.key, nullptr, 0);
  kernels.Attention({.layout = step.kv.layout(),
                     .kv = kv,
                     .num_heads = h.num_heads,
                     .scale = scale_,
                     .q = s.query,
                     .q_stride = w.heads * w.key,
                     .out = s.seen,
                     .out_stride = w.heads * w.latent});
  kernels.MatmulHeads(from_latent_, s.seen, w.heads * w.latent, w.latent, rows, s.attended,
                      w.heads * w.value, w.value);
  kernels.Matmul({output_.To(out, h.hidden)}, s.attended, w.heads * w.value, rows);
}

}  // namespace conclave::engine
