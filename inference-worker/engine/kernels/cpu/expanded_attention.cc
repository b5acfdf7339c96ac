// Latent attention with keys and values of every head made first, some heads at a time so that what
// is made stays small.
#include <algorithm>
#include <vector>

#include "base/check.h"
#include "engine/kernels/cpu/cpu_kernels.h"

namespace conclave::engine {
namespace {

constexpr int32_t kBlockTokens = KvLayout::kBlockTokens;
constexpr int64_t kExpandedBytes = int64_t{64} << 20;  // of keys and values at a time, about

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void CpuKernels::UnpackKeys(const KvLayout& layout, const std::byte* kv, const int32_t* blocks,
                            int32_t tokens, float* out) {
  pool_.ParallelFor(CeilDiv(tokens, kBlockTokens), [&](int64_t block, int) {
    isa_.unpack_keys(kv + layout.block_offset(blocks[block]), layout.type == KvType::kF16,
                     layout.head_dim,
                     std::min<int64_t>(kBlockTokens, tokens - block * kBlockTokens),
                     out + block * kBlockTokens * layout.head_dim, layout.head_dim);
  });
}

void CpuKernels::ExpandedAttention(const ExpandedAttentionArgs& args, int32_t span_index) {
  const KvLayout& latents = args.layout;
  CHECK(latents.values_in_keys && latents.num_kv_heads == 1);
  const AttentionSpan& span = spans_[static_cast<size_t>(span_index)];
  const int32_t tokens = span.position + span.rows;
  const auto heads = static_cast<int32_t>(args.keys->num_matrices());
  const int64_t nope = args.keys->out();
  const int64_t rope = latents.head_dim - latents.value_dim;
  const int64_t head_dim = nope + rope;
  const int64_t value_dim = args.values->out();
  const int64_t head_floats = int64_t{tokens} * (head_dim + value_dim);
  const auto together =
      static_cast<int32_t>(std::clamp<int64_t>(kExpandedBytes / (head_floats * 4), 1, heads));
  const int64_t latent_floats = int64_t{tokens} * latents.head_dim;
  auto* const latent = reinterpret_cast<float*>(
      Scratch(latent_scratch_, (latent_floats + together * head_floats) * 4));
  float* const keys = latent + latent_floats;
  float* const values = keys + tokens * together * head_dim;
  UnpackKeys(latents, static_cast<const std::byte*>(args.kv), span.blocks, tokens, latent);

  std::vector<int32_t> blocks(static_cast<size_t>(CeilDiv(tokens, kBlockTokens)));
  for (size_t b = 0; b < blocks.size(); ++b) blocks[b] = static_cast<int32_t>(b);
  for (int32_t first = 0; first < heads; first += together) {
    const int32_t count = std::min(together, heads - first);
    const int64_t key_stride = count * head_dim;
    const int64_t value_stride = count * value_dim;
    MultiplyHeads(*args.keys, first, count, latent, latents.head_dim, 0, tokens, keys, key_stride,
                  head_dim);
    for (int32_t head = 0; head < count; ++head) {
      CopyRows(latent + latents.value_dim, latents.head_dim, tokens, rope,
               keys + head * head_dim + nope, key_stride);
    }
    MultiplyHeads(*args.values, first, count, latent, latents.head_dim, 0, tokens, values,
                  value_stride, value_dim);
    const KvLayout layout = {.num_kv_heads = count,
                             .head_dim = static_cast<int32_t>(head_dim),
                             .value_dim = static_cast<int32_t>(value_dim),
                             .type = latents.type};
    std::byte* const kv =
        Scratch(dense_kv_scratch_, layout.block_bytes() * static_cast<int64_t>(blocks.size()));
    StoreSpans(layout, kv, std::vector<AttentionSpan>{{blocks.data(), 0, 0, tokens}}, keys,
               key_stride, values, value_stride);
    AttendSpans(
        {.layout = layout,
         .kv = kv,
         .num_heads = count,
         .scale = args.scale,
         .q = args.q + first * head_dim,
         .q_stride = args.q_stride,
         .out = args.out + first * value_dim,
         .out_stride = args.out_stride},
        std::vector<AttentionSpan>{{blocks.data(), span.position, span.first_row, span.rows}},
        true);
  }
}

}  // namespace conclave::engine
