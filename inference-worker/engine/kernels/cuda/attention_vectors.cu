// Attention on the vector units: keys and values in fp32, and latents in fp32, whose values are the
// first elements of their keys.
//
// A sequence is cut at fixed positions: splits of 128 tokens, each two strips of 64. Within a split
// a running maximum is looked at after each strip; splits are merged in order. For few query rows
// every split has a block of its own and the merge is a second launch, for many a block walks all
// splits of its rows; both do the same operations in the same order, so a row's result does not
// depend on which it was, nor on chunk and batch.
#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/attention_args.cuh"
#include "engine/kernels/cuda/device.cuh"

namespace {

constexpr int kStrip = 64;
constexpr int kSplit = 128;
constexpr int kThreads = 256;
// Elements of a query, and value elements that a thread adds up: of plain heads, and of a latent.
constexpr int kHeadMax = CONCLAVE_CUDA_HEAD_DIM_MAX;
constexpr int kLatentMax = CONCLAVE_CUDA_LATENT_KEY_MAX;
constexpr int kSums = CONCLAVE_CUDA_HEAD_DIM_MAX / 128;
constexpr int kLatentSums = CONCLAVE_CUDA_LATENT_MAX / 128;
constexpr int kThreadRows = 8;  // whose values a thread adds up: thread / 128 + 2i
constexpr int kScoreRows = 4;   // whose scores a thread makes: thread / 64 + 4i

__device__ inline float ElementAt(const uint8_t* tile, int index) {
  return reinterpret_cast<const float*>(tile)[index];
}

// What a block's threads share.
template <bool kLatent>
struct Shared {
  float q[kTileRows][kLatent ? kLatentMax : kHeadMax];
  float weights[kTileRows][kStrip];
  float shrink[kTileRows];
  float split_max[kTileRows];
  float split_weight[kTileRows];
};

// A block's tile and head.
struct Work {
  ConclaveCudaSpan span;
  int tile;
  int first;  // row of tokens × heads
  int kv_head;
  TileRange range;
  const uint8_t* head_memory;
  const int32_t* blocks;
};
__device__ inline Work WorkOf(const AttendArgs& a) {
  const int index = static_cast<int>(blockIdx.x);
  const int2 tile = a.tiles[index];
  const int kv_head = static_cast<int>(blockIdx.y);
  const ConclaveCudaSpan span = a.spans[tile.x];
  return {span,
          index,
          tile.y,
          kv_head,
          RangeOf(a, span, tile.y),
          a.t.kv + kv_head * a.t.head_bytes,
          a.blocks + span.first_block};
}

template <bool kLatent>
__device__ inline void LoadQueries(const AttendArgs& a, const Work& work, Shared<kLatent>& s) {
  const int head_dim = a.t.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < work.range.rows * head_dim; i += kThreads) {
    const QueryRow at = QueryAt(a, work.span, work.kv_head, work.first + i / head_dim);
    s.q[i / head_dim][i % head_dim] =
        a.q[at.row * a.q_stride + static_cast<int64_t>(at.head) * head_dim + i % head_dim];
  }
}

// Products of one token's key and the thread's rows.
template <bool kLatent>
__device__ inline void MultiplyKey(const AttendArgs& a, const Work& work, const Shared<kLatent>& s,
                                   int token, float (&score)[kScoreRows]) {
  const uint8_t* const keys =
      work.head_memory + work.blocks[token / kBlockTokens] * a.t.block_bytes;
  const int place = token % kBlockTokens;
  const int first_row = static_cast<int>(threadIdx.x) / kStrip;
  const int head_dim = a.t.head_dim;
  int d = 0;
  for (; d + 4 <= head_dim; d += 4) {
    float k[4];
    for (int j = 0; j < 4; ++j) k[j] = ElementAt(keys, (d + j) * kBlockTokens + place);
#pragma unroll
    for (int i = 0; i < kScoreRows; ++i) {
      const int row = first_row + 4 * i;
      if (row >= work.range.rows) break;
      const float4 v = *reinterpret_cast<const float4*>(&s.q[row][d]);
      score[i] = fmaf(k[0], v.x, score[i]);
      score[i] = fmaf(k[1], v.y, score[i]);
      score[i] = fmaf(k[2], v.z, score[i]);
      score[i] = fmaf(k[3], v.w, score[i]);
    }
  }
  for (; d < head_dim; ++d) {
    const float k0 = ElementAt(keys, d * kBlockTokens + place);
#pragma unroll
    for (int i = 0; i < kScoreRows; ++i) {
      const int row = first_row + 4 * i;
      if (row < work.range.rows) score[i] = fmaf(k0, s.q[row][d], score[i]);
    }
  }
}

// Scores of a strip, by token (thread % 64) and every fourth row. Tokens a row does not see are
// minus infinity.
template <bool kLatent>
__device__ inline void ScoreStrip(const AttendArgs& a, const Work& work, int first, int tokens,
                                  Shared<kLatent>& s) {
  const int t = static_cast<int>(threadIdx.x) % kStrip;
  const int token = first + t;
  float score[kScoreRows] = {0.0f, 0.0f, 0.0f, 0.0f};
  if (t < tokens) MultiplyKey<kLatent>(a, work, s, token, score);
#pragma unroll
  for (int i = 0; i < kScoreRows; ++i) {
    const int row = static_cast<int>(threadIdx.x) / kStrip + 4 * i;
    if (row >= work.range.rows) break;
    const QueryRow at = QueryAt(a, work.span, work.kv_head, work.first + row);
    float value = score[i] * a.scale;
    if (a.slopes != nullptr) {
      value = fmaf(static_cast<float>(token - (at.visible - 1)), a.slopes[at.head], value);
    }
    const bool seen = t < tokens && token >= at.first && token < at.visible;
    s.weights[row][t] = seen ? value : -INFINITY;
  }
}

// Scores to weights. A warp has rows warp and warp + 8, a lane two tokens.
template <bool kLatent>
__device__ inline void WeighStrip(int rows, Shared<kLatent>& s) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = static_cast<int>(threadIdx.x) / 32; row < rows; row += kThreads / 32) {
    const float s0 = s.weights[row][lane];
    const float s1 = s.weights[row][lane + 32];
    const float old_max = s.split_max[row];
    const float max = fmaxf(old_max, WarpMax(fmaxf(s0, s1)));
    const bool nothing = max == -INFINITY;
    const float w0 = nothing ? 0.0f : expf(s0 - max);
    const float w1 = nothing ? 0.0f : expf(s1 - max);
    const float factor = nothing ? 1.0f : expf(old_max - max);
    const float strip_weight = WarpSum(w0 + w1);
    s.weights[row][lane] = w0;
    s.weights[row][lane + 32] = w1;
    if (lane == 0) {
      s.shrink[row] = factor;
      s.split_max[row] = max;
      s.split_weight[row] = fmaf(s.split_weight[row], factor, strip_weight);
    }
  }
}

// Values of a strip onto the split's sums: element thread % 128, + 128, … of every second row.
template <bool kLatent, int kElements>
__device__ inline void AddValues(const AttendArgs& a, const Work& work, int first, int tokens,
                                 const Shared<kLatent>& s, float (&sum)[kThreadRows][kElements]) {
  const int sum_row = static_cast<int>(threadIdx.x) / 128;
  const int element = static_cast<int>(threadIdx.x) % 128;
#pragma unroll
  for (int i = 0; i < kThreadRows; ++i) {
    const int row = sum_row + 2 * i;
    if (row >= work.range.rows) break;
    for (int e = 0; e < kElements; ++e) sum[i][e] *= s.shrink[row];
  }
  for (int u = 0; u < tokens; ++u) {
    const int token = first + u;
    const int place = token % kBlockTokens;
    const uint8_t* const keys =
        work.head_memory + work.blocks[token / kBlockTokens] * a.t.block_bytes;
    float value[kElements];
    for (int e = 0; e < kElements; ++e) {
      const int d = element + 128 * e;
      value[e] = 0.0f;
      if (d >= a.t.value_dim) continue;
      value[e] = kLatent ? ElementAt(keys, d * kBlockTokens + place)
                         : ElementAt(keys + a.t.values_offset, place * a.t.value_pitch + d);
    }
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
      const int row = sum_row + 2 * i;
      if (row >= work.range.rows) break;
      const float w = s.weights[row][u];
      for (int e = 0; e < kElements; ++e) sum[i][e] = fmaf(value[e], w, sum[i][e]);
    }
  }
}

// The sums of one split.
template <bool kLatent, int kElements>
__device__ inline void AddSplit(const AttendArgs& a, const Work& work, int split,
                                Shared<kLatent>& s, float (&sum)[kThreadRows][kElements]) {
#pragma unroll
  for (int i = 0; i < kThreadRows; ++i) {
    for (int e = 0; e < kElements; ++e) sum[i][e] = 0.0f;
  }
  if (threadIdx.x < kTileRows) {
    s.split_max[threadIdx.x] = -INFINITY;
    s.split_weight[threadIdx.x] = 0.0f;
  }
  const int end = min((split + 1) * kSplit, work.range.longest);
  for (int first = split * kSplit; first < end; first += kStrip) {
    const int tokens = min(kStrip, end - first);
    __syncthreads();
    ScoreStrip<kLatent>(a, work, first, tokens, s);
    __syncthreads();
    WeighStrip<kLatent>(work.range.rows, s);
    __syncthreads();
    AddValues<kLatent, kElements>(a, work, first, tokens, s, sum);
  }
  __syncthreads();
}

// A block has a tile and walks its splits.
template <bool kLatent>
__global__ void __launch_bounds__(kThreads) WalkSplits(AttendArgs a) {
  constexpr int kElements = kLatent ? kLatentSums : kSums;
  __shared__ __align__(16) Shared<kLatent> s;
  const Work work = WorkOf(a);
  LoadQueries<kLatent>(a, work, s);
  const int sum_row = static_cast<int>(threadIdx.x) / 128;
  const int element = static_cast<int>(threadIdx.x) % 128;
  float total[kThreadRows][kElements];
  float total_max[kThreadRows];
  float total_weight[kThreadRows];
#pragma unroll
  for (int i = 0; i < kThreadRows; ++i) {
    for (int e = 0; e < kElements; ++e) total[i][e] = 0.0f;
    total_max[i] = -INFINITY;
    total_weight[i] = 0.0f;
  }
  for (int split = work.range.first / kSplit; split * kSplit < work.range.longest; ++split) {
    float sum[kThreadRows][kElements];
    AddSplit<kLatent, kElements>(a, work, split, s, sum);
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
      const int row = sum_row + 2 * i;
      if (row >= work.range.rows) break;
      const Merge m = MergeMaxima<Natural>(total_max[i], s.split_max[row]);
      for (int e = 0; e < kElements; ++e) total[i][e] = Merged(m, total[i][e], sum[i][e]);
      total_weight[i] = Merged(m, total_weight[i], s.split_weight[row]);
      total_max[i] = m.max;
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kThreadRows; ++i) {
    const int row = sum_row + 2 * i;
    if (row >= work.range.rows) break;
    const QueryRow at = QueryAt(a, work.span, work.kv_head, work.first + row);
    float* const to = a.out + at.row * a.out_stride + static_cast<int64_t>(at.head) * a.t.value_dim;
    const float factor = FinalFactor<Natural>(a, at.head, total_max[i], total_weight[i]);
    for (int e = 0; e < kElements; ++e) {
      if (element + 128 * e < a.t.value_dim) to[element + 128 * e] = total[i][e] * factor;
    }
  }
}

// A block has a tile and one split.
template <bool kLatent>
__global__ void __launch_bounds__(kThreads) EachSplit(AttendArgs a) {
  constexpr int kElements = kLatent ? kLatentSums : kSums;
  __shared__ __align__(16) Shared<kLatent> s;
  const Work work = WorkOf(a);
  const int split = static_cast<int>(blockIdx.z);
  // Splits before the first token that any row sees are nobody's.
  if (split * kSplit >= work.range.longest || split < work.range.first / kSplit) return;
  LoadQueries<kLatent>(a, work, s);
  float sum[kThreadRows][kElements];
  AddSplit<kLatent, kElements>(a, work, split, s, sum);
  const int element = static_cast<int>(threadIdx.x) % 128;
#pragma unroll
  for (int i = 0; i < kThreadRows; ++i) {
    const int row = static_cast<int>(threadIdx.x) / 128 + 2 * i;
    if (row >= work.range.rows) break;
    float* const to = PartialAt(a, work.tile, work.kv_head, split, row);
    for (int e = 0; e < kElements; ++e) {
      if (element + 128 * e < a.t.value_dim) to[element + 128 * e] = sum[i][e];
    }
    if (element == 0) {
      to[a.t.value_dim] = s.split_max[row];
      to[a.t.value_dim + 1] = s.split_weight[row];
    }
  }
}

// The splits of a row, in order: what WalkSplits does at the end of each.
__global__ void MergeSplits(AttendArgs a) {
  const Work work = WorkOf(a);
  const int row = static_cast<int>(blockIdx.z);
  if (row >= work.range.rows) return;
  const int value_dim = a.t.value_dim;
  const QueryRow at = QueryAt(a, work.span, work.kv_head, work.first + row);
  float* const to = a.out + at.row * a.out_stride + static_cast<int64_t>(at.head) * value_dim;
  for (int d = static_cast<int>(threadIdx.x); d < value_dim; d += static_cast<int>(blockDim.x)) {
    float max = -INFINITY;
    float total = 0.0f;
    float weight = 0.0f;
    for (int split = work.range.first / kSplit; split * kSplit < work.range.longest; ++split) {
      const float* const part = PartialAt(a, work.tile, work.kv_head, split, row);
      const Merge m = MergeMaxima<Natural>(max, part[value_dim]);
      total = Merged(m, total, part[d]);
      weight = Merged(m, weight, part[value_dim + 1]);
      max = m.max;
    }
    to[d] = total * FinalFactor<Natural>(a, at.head, max, weight);
  }
}

template <bool kLatent>
void LaunchKind(ConclaveCudaContext* c, AttendArgs& a, int64_t longest) {
  const auto tiles = static_cast<unsigned>(a.num_tiles);
  const auto kv_heads = static_cast<unsigned>(a.t.num_kv_heads);
  const int64_t splits = longest <= kSplit ? 1 : AttentionStrips(longest) * kStrip / kSplit;
  a.partial_pitch = a.t.value_dim + 2;
  const int64_t partial_floats = int64_t{tiles} * kv_heads * splits * kTileRows * a.partial_pitch;
  const bool few = int64_t{tiles} * kv_heads < 2 * c->multiprocessors;
  if (splits == 1 || !few || partial_floats * 4 > c->attention_bytes_max) {
    return Launch(c, "attention", WalkSplits<kLatent>, dim3(tiles, kv_heads), kThreads, a);
  }
  a.parts = static_cast<int>(splits);
  a.partial = ScratchOf<float>(c, kAttentionPartial, partial_floats);
  Launch(c, "attention", EachSplit<kLatent>, dim3(tiles, kv_heads, static_cast<unsigned>(splits)),
         kThreads, a);
  Launch(c, "attention", MergeSplits, dim3(tiles, kv_heads, kTileRows), 128u, a);
}

}  // namespace

void LaunchVectorAttention(ConclaveCudaContext* c, AttendArgs& a, int64_t longest, bool latent) {
  PlanTiles(c, a, kTileRows);
  latent ? LaunchKind<true>(c, a, longest) : LaunchKind<false>(c, a, longest);
}
