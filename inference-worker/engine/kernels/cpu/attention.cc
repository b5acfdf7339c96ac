// Keys and values into blocks, and attention over them. A task is one kv head of one sequence with
// up to eight query rows: all heads of the group share each key that is read.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "base/check.h"
#include "engine/kernels/cpu/cpu_kernels.h"

namespace conclave::engine {
namespace {

constexpr int kBlockTokens = KvLayout::kBlockTokens;

// Query rows of a span for one kv head, token by token, its heads side by side.
void MakeTasks(std::span<const AttentionSpan> spans, int32_t max_span_rows, int32_t kv_heads,
               int32_t group, std::vector<AttentionTask>& tasks) {
  tasks.clear();
  for (size_t s = 0; s < spans.size(); ++s) {
    if (spans[s].rows > max_span_rows) continue;
    const int32_t rows = spans[s].rows * group;
    for (int32_t head = 0; head < kv_heads; ++head) {
      for (int32_t first = 0; first < rows; first += kAttentionRows) {
        tasks.push_back(
            {static_cast<int32_t>(s), head, first, std::min(kAttentionRows, rows - first)});
      }
    }
  }
}

void StoreFloats(const float* x, int64_t n, float* out, int64_t element_stride) {
  for (int64_t i = 0; i < n; ++i) out[i * element_stride] = x[i];
}

}  // namespace

absl::Status CpuKernels::CheckAttention(const KvLayout& layout, int32_t) const {
  if (layout.values_in_keys && layout.value_dim % 16 != 0) {
    return base::Unimplemented("latent attention: " + std::to_string(layout.value_dim) +
                               " elements are no multiple of 16");
  }
  if (layout.value_dim <= kMaxValueDim) return absl::OkStatus();
  return base::Unimplemented("attention: values of " + std::to_string(layout.value_dim) +
                             " elements, at most " + std::to_string(kMaxValueDim));
}

void CpuKernels::StoreKv(const KvLayout& layout, void* kv, const float* k, int64_t k_stride,
                         const float* v, int64_t v_stride) {
  StoreSpans(layout, static_cast<std::byte*>(kv), spans_, k, k_stride, v, v_stride);
}

void CpuKernels::StoreSpans(const KvLayout& layout, std::byte* memory,
                            std::span<const AttentionSpan> spans, const float* k, int64_t k_stride,
                            const float* v, int64_t v_stride) {
  const auto store = [&](const AttentionSpan& span, int64_t i) {
    const int64_t row = span.first_row + i;
    const int64_t token = span.position + i;
    std::byte* block = memory + layout.block_offset(span.blocks[token / kBlockTokens]);
    const int64_t in_block = token % kBlockTokens;
    for (int64_t head = 0; head < layout.num_kv_heads; ++head) {
      std::byte* keys = block + head * layout.head_bytes();
      const float* key = k + row * k_stride + head * layout.head_dim;
      const bool half = layout.type == KvType::kF16;
      if (half) {
        isa_.store_half(key, layout.head_dim, reinterpret_cast<uint16_t*>(keys) + in_block,
                        kBlockTokens);
      } else {
        StoreFloats(key, layout.head_dim, reinterpret_cast<float*>(keys) + in_block, kBlockTokens);
      }
      if (layout.values_in_keys) continue;
      std::byte* values = keys + layout.key_tile_bytes();
      const float* value = v + row * v_stride + head * layout.value_dim;
      const int64_t value_at = in_block * layout.padded_value_dim();
      if (half) {
        isa_.store_half(value, layout.value_dim, reinterpret_cast<uint16_t*>(values) + value_at, 1);
      } else {
        StoreFloats(value, layout.value_dim, reinterpret_cast<float*>(values) + value_at, 1);
      }
    }
  };
  const int64_t cost = int64_t{layout.num_kv_heads} * (layout.head_dim + layout.value_dim);
  for (const AttentionSpan& span : spans) {
    ForRows(span.rows, cost, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) store(span, i);
    });
  }
}

void CpuKernels::Attention(const AttentionArgs& args) { AttendSpans(args, spans_, true); }

void CpuKernels::AttendSpans(const AttentionArgs& args, std::span<const AttentionSpan> spans,
                             bool causal) {
  const KvLayout& layout = args.layout;
  CHECK(layout.num_kv_heads > 0 && args.num_heads % layout.num_kv_heads == 0);
  CHECK(layout.value_dim <= kMaxValueDim);
  const int32_t group = args.num_heads / layout.num_kv_heads;
  MakeTasks(spans, args.max_span_rows, layout.num_kv_heads, group, attention_tasks_);
  pool_.ParallelFor(static_cast<int64_t>(attention_tasks_.size()), [&](int64_t index, int) {
    const AttentionTask& task = attention_tasks_[static_cast<size_t>(index)];
    const AttentionSpan& span = spans[static_cast<size_t>(task.span)];
    AttentionTile tile;
    tile.keys = static_cast<const std::byte*>(args.kv) + task.kv_head * layout.head_bytes();
    tile.values_offset = layout.key_tile_bytes();
    tile.block_bytes = layout.block_bytes();
    tile.blocks = span.blocks;
    tile.half = layout.type == KvType::kF16;
    tile.values_in_keys = layout.values_in_keys;
    tile.head_dim = layout.head_dim;
    tile.value_dim = layout.value_dim;
    tile.scale = args.scale;
    tile.rows = task.rows;
    for (int32_t i = 0; i < task.rows; ++i) {
      const int32_t token = (task.first + i) / group;
      const int64_t head = int64_t{task.kv_head} * group + (task.first + i) % group;
      const int64_t row = span.first_row + token;
      tile.q[i] = args.q + row * args.q_stride + head * layout.head_dim;
      tile.out[i] = args.out + row * args.out_stride + head * layout.value_dim;
      tile.visible[i] = causal ? span.position + token + 1 : span.rows;
      tile.first[i] = args.window > 0 ? std::max(0, tile.visible[i] - args.window) : 0;
      tile.sink[i] =
          args.sinks != nullptr ? args.sinks[head] : -std::numeric_limits<float>::infinity();
      tile.slope[i] = args.alibi_slopes != nullptr ? args.alibi_slopes[head] : 0.0f;
    }
    isa_.attend(tile);
  });
}

void CpuKernels::DenseAttention(const DenseAttentionArgs& args) {
  if (args.offsets.size() < 2) return;
  KvLayout layout;
  layout.num_kv_heads = args.num_heads;
  layout.head_dim = args.head_dim;
  layout.value_dim = args.head_dim;
  layout.type = KvType::kF32;
  // Each sequence gets blocks of its own in scratch, in order; fp32, so nothing is lost.
  std::vector<AttentionSpan> spans;
  std::vector<int32_t> blocks;
  const size_t sequences = args.offsets.size() - 1;
  int32_t longest = 0;
  for (size_t s = 0; s < sequences; ++s) {
    longest = std::max(longest, args.offsets[s + 1] - args.offsets[s]);
  }
  const int32_t blocks_each = (longest + kBlockTokens - 1) / kBlockTokens;
  blocks.resize(sequences * static_cast<size_t>(blocks_each));
  for (size_t b = 0; b < blocks.size(); ++b) blocks[b] = static_cast<int32_t>(b);
  for (size_t s = 0; s < sequences; ++s) {
    AttentionSpan span;
    span.blocks = blocks.data() + s * static_cast<size_t>(blocks_each);
    span.first_row = args.offsets[s];
    span.rows = args.offsets[s + 1] - args.offsets[s];
    if (span.rows > 0) spans.push_back(span);
  }
  std::byte* kv =
      Scratch(dense_kv_scratch_, static_cast<int64_t>(blocks.size()) * layout.block_bytes());
  StoreSpans(layout, kv, spans, args.k, args.stride, args.v, args.stride);
  AttentionArgs paged;
  paged.layout = layout;
  paged.kv = kv;
  paged.num_heads = args.num_heads;
  paged.scale = args.scale;
  paged.q = args.q;
  paged.q_stride = args.stride;
  paged.out = args.out;
  paged.out_stride = args.out_stride;
  AttendSpans(paged, spans, false);
}

}  // namespace conclave::engine
