// Keys and values into their blocks, and causal attention over them.
//
// A sequence is cut at fixed positions: splits of 128 tokens, each two strips of 64. Within a split
// a running maximum is looked at after each strip; splits are merged in order. For few query rows
// every split has a block of its own and the merge is a second launch, for many a block walks all
// splits of its rows; both do the same operations in the same order, so a row's result does not
// depend on which it was, nor on chunk and batch.
#include "engine/kernels/cuda/attention.cuh"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/kernels/cuda/device.cuh"

namespace {

constexpr int kBlockTokens = 16;
constexpr int kStrip = 64;
constexpr int kSplit = kAttentionSplit;
constexpr int kTileRows = 16;  // query rows of a block: tokens × heads of the group
constexpr int kThreads = 256;
// Elements of a query, and value elements that a thread adds up: of plain heads, and of a latent.
constexpr int kHeadMax = CONCLAVE_CUDA_HEAD_DIM_MAX;
constexpr int kLatentMax = CONCLAVE_CUDA_LATENT_KEY_MAX;
constexpr int kSums = CONCLAVE_CUDA_HEAD_DIM_MAX / 128;
constexpr int kLatentSums = CONCLAVE_CUDA_LATENT_MAX / 128;
// A split's sums wait in scratch between two launches; more than this is not worth it.
constexpr int64_t kPartialBytesMax = int64_t{256} << 20;

// kv_layout.h, as the kernels need it.
struct Tiles {
  const uint8_t* kv;
  int64_t block_bytes;
  int64_t head_bytes;
  int64_t values_offset;
  int head_dim;
  int value_dim;
  int value_pitch;
  int num_kv_heads;
  bool latent;  // values are the first elements of keys
};

Tiles TilesOf(const ConclaveCudaKv& kv) {
  Tiles t;
  const int64_t element = kv.half != 0 ? 2 : 4;
  t.kv = static_cast<const uint8_t*>(kv.kv);
  t.value_pitch = (kv.value_dim + 15) / 16 * 16;
  t.values_offset = int64_t{kv.head_dim} * kBlockTokens * element;
  t.latent = kv.values_in_keys != 0;
  t.head_bytes = t.values_offset + (t.latent ? 0 : int64_t{t.value_pitch} * kBlockTokens * element);
  t.block_bytes = t.head_bytes * kv.num_kv_heads;
  t.head_dim = kv.head_dim;
  t.value_dim = kv.value_dim;
  t.num_kv_heads = kv.num_kv_heads;
  return t;
}

template <bool kHalf>
__device__ inline float ElementAt(const uint8_t* tile, int index) {
  if (kHalf) return HalfBits(reinterpret_cast<const uint16_t*>(tile)[index]);
  return reinterpret_cast<const float*>(tile)[index];
}

template <bool kHalf>
__device__ inline void StoreElement(uint8_t* tile, int index, float x) {
  if (kHalf) {
    reinterpret_cast<uint16_t*>(tile)[index] = ToHalfBits(fminf(fmaxf(x, -65504.0f), 65504.0f));
  } else {
    reinterpret_cast<float*>(tile)[index] = x;
  }
}

// A block per row and kv head.
template <bool kHalf>
__global__ void Store(Tiles t, uint8_t* kv, const int32_t* slots, const float* k, int64_t k_stride,
                      const float* v, int64_t v_stride) {
  const int64_t row = blockIdx.x;
  const int head = static_cast<int>(blockIdx.y);
  const int slot = slots[row];
  const int place = slot % kBlockTokens;
  uint8_t* const keys = kv + slot / kBlockTokens * t.block_bytes + head * t.head_bytes;
  const float* const key = k + row * k_stride + static_cast<int64_t>(head) * t.head_dim;
  const int step = static_cast<int>(blockDim.x);
  for (int d = static_cast<int>(threadIdx.x); d < t.head_dim; d += step) {
    StoreElement<kHalf>(keys, d * kBlockTokens + place, key[d]);
  }
  if (t.latent) return;
  const float* const value = v + row * v_stride + static_cast<int64_t>(head) * t.value_dim;
  for (int d = static_cast<int>(threadIdx.x); d < t.value_dim; d += step) {
    StoreElement<kHalf>(keys + t.values_offset, place * t.value_pitch + d, value[d]);
  }
}

struct AttendArgs {
  Tiles t;
  const ConclaveCudaSpan* spans;
  const int32_t* blocks;
  const int2* tiles;  // {span, first row of tokens × heads}
  const float* q;
  int64_t q_stride;
  float* out;
  int64_t out_stride;
  float* partial;  // [tile][kv head][split][kTileRows][value_dim sums, maximum, weight]
  int splits;      // of `partial`
  int group;       // query heads per kv head
  float scale;
  int window;           // tokens a row sees; 0 = all before it
  const float* sinks;   // [query head], or none
  const float* slopes;  // [query head], or none
};

// Where a query row of a tile is.
struct QueryRow {
  int64_t row;  // of the batch
  int head;     // of all query heads
  int first;    // the first token it sees
  int visible;  // the one after the last
};
__device__ inline QueryRow QueryAt(const AttendArgs& a, const ConclaveCudaSpan& span, int kv_head,
                                   int index) {
  const int token = index / a.group;
  const int visible = span.position + token + 1;
  return {span.first_row + token, kv_head * a.group + index % a.group,
          a.window > 0 ? max(0, visible - a.window) : 0, visible};
}

__device__ inline float* PartialAt(const AttendArgs& a, int tile, int kv_head, int split, int row) {
  const int64_t at =
      ((static_cast<int64_t>(tile) * a.t.num_kv_heads + kv_head) * a.splits + split) * kTileRows +
      row;
  return a.partial + at * (a.t.value_dim + 2);
}

// What the sums so far and a split's are multiplied by when the two are added up.
struct Merge {
  float max;
  float old_factor;
  float new_factor;
};
__device__ inline Merge MergeMaxima(float old_max, float new_max) {
  if (new_max == -INFINITY) return {old_max, 1.0f, 0.0f};
  const float max = fmaxf(old_max, new_max);
  return {max, old_max == -INFINITY ? 0.0f : expf(old_max - max), expf(new_max - max)};
}
// A sink adds to the weights of its row and to nothing else.
__device__ inline float WithSink(const AttendArgs& a, int head, float max, float& weight) {
  if (a.sinks == nullptr) return 1.0f;
  const Merge m = MergeMaxima(max, a.sinks[head]);
  weight = fmaf(1.0f, m.new_factor, weight * m.old_factor);
  return m.old_factor;
}

__device__ inline float Merged(const Merge& m, float old_sum, float new_sum) {
  return fmaf(new_sum, m.new_factor, old_sum * m.old_factor);
}

// Threads: scores are made by token (thread % 64) and every fourth row; sums by value element
// (thread % 128, + 128, …) and every second row.
template <bool kHalf, bool kSplitKv, bool kLatent>
__global__ void __launch_bounds__(kThreads) Attend(AttendArgs a) {
  constexpr int kElements = kLatent ? kLatentSums : kSums;
  __shared__ __align__(16) float q[kTileRows][kLatent ? kLatentMax : kHeadMax];
  __shared__ float weights[kTileRows][kStrip];
  __shared__ float shrink[kTileRows];
  __shared__ float split_max[kTileRows];
  __shared__ float split_weight[kTileRows];

  const int thread = static_cast<int>(threadIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y);
  const int2 tile = a.tiles[blockIdx.x];
  const ConclaveCudaSpan span = a.spans[tile.x];
  const int rows = min(kTileRows, span.rows * a.group - tile.y);
  const int longest = QueryAt(a, span, kv_head, tile.y + rows - 1).visible;
  // Splits before the first token that any row sees are nobody's.
  const int begin_split = QueryAt(a, span, kv_head, tile.y).first / kSplit;
  const int first_split = kSplitKv ? static_cast<int>(blockIdx.z) : begin_split;
  const int last_split = kSplitKv ? first_split + 1 : (longest + kSplit - 1) / kSplit;
  if (first_split * kSplit >= longest || first_split < begin_split) return;
  const int head_dim = a.t.head_dim;
  const int value_dim = a.t.value_dim;
  const uint8_t* const head_memory = a.t.kv + kv_head * a.t.head_bytes;
  const int32_t* const blocks = a.blocks + span.first_block;

  for (int i = thread; i < rows * head_dim; i += kThreads) {
    const QueryRow at = QueryAt(a, span, kv_head, tile.y + i / head_dim);
    q[i / head_dim][i % head_dim] =
        a.q[at.row * a.q_stride + static_cast<int64_t>(at.head) * head_dim + i % head_dim];
  }
  // Rows thread / 128 + 2·i, elements thread % 128 + 128·e.
  const int sum_row = thread / 128;
  const int element = thread % 128;
  float total[8][kElements];
  float total_max[8];
  float total_weight[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    for (int e = 0; e < kElements; ++e) total[i][e] = 0.0f;
    total_max[i] = -INFINITY;
    total_weight[i] = 0.0f;
  }

  for (int split = first_split; split < last_split; ++split) {
    float sum[8][kElements];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      for (int e = 0; e < kElements; ++e) sum[i][e] = 0.0f;
    }
    if (thread < kTileRows) {
      split_max[thread] = -INFINITY;
      split_weight[thread] = 0.0f;
    }
    const int end = min((split + 1) * kSplit, longest);
    for (int first = split * kSplit; first < end; first += kStrip) {
      const int tokens = min(kStrip, end - first);
      __syncthreads();
      // Scores of this strip. Tokens a row does not see are minus infinity.
      const int t = thread % kStrip;
      float score[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      if (t < tokens) {
        const int token = first + t;
        const uint8_t* const keys = head_memory + blocks[token / kBlockTokens] * a.t.block_bytes;
        const int place = token % kBlockTokens;
        int d = 0;
        for (; d + 4 <= head_dim; d += 4) {
          const float k0 = ElementAt<kHalf>(keys, d * kBlockTokens + place);
          const float k1 = ElementAt<kHalf>(keys, (d + 1) * kBlockTokens + place);
          const float k2 = ElementAt<kHalf>(keys, (d + 2) * kBlockTokens + place);
          const float k3 = ElementAt<kHalf>(keys, (d + 3) * kBlockTokens + place);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int row = thread / kStrip + 4 * i;
            if (row >= rows) break;
            const float4 v = *reinterpret_cast<const float4*>(&q[row][d]);
            score[i] = fmaf(k0, v.x, score[i]);
            score[i] = fmaf(k1, v.y, score[i]);
            score[i] = fmaf(k2, v.z, score[i]);
            score[i] = fmaf(k3, v.w, score[i]);
          }
        }
        for (; d < head_dim; ++d) {
          const float k0 = ElementAt<kHalf>(keys, d * kBlockTokens + place);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int row = thread / kStrip + 4 * i;
            if (row < rows) score[i] = fmaf(k0, q[row][d], score[i]);
          }
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = thread / kStrip + 4 * i;
        if (row >= rows) break;
        const QueryRow at = QueryAt(a, span, kv_head, tile.y + row);
        const int token = first + t;
        float value = score[i] * a.scale;
        if (a.slopes != nullptr) {
          value = fmaf(static_cast<float>(token - (at.visible - 1)), a.slopes[at.head], value);
        }
        const bool seen = t < tokens && token >= at.first && token < at.visible;
        weights[row][t] = seen ? value : -INFINITY;
      }
      __syncthreads();
      // A warp has rows warp and warp + 8, a lane two tokens.
      const int lane = thread % 32;
      for (int row = thread / 32; row < rows; row += kThreads / 32) {
        const float s0 = weights[row][lane];
        const float s1 = weights[row][lane + 32];
        const float old_max = split_max[row];
        const float max = fmaxf(old_max, WarpMax(fmaxf(s0, s1)));
        const bool nothing = max == -INFINITY;
        const float w0 = nothing ? 0.0f : expf(s0 - max);
        const float w1 = nothing ? 0.0f : expf(s1 - max);
        const float factor = nothing ? 1.0f : expf(old_max - max);
        const float strip_weight = WarpSum(w0 + w1);
        weights[row][lane] = w0;
        weights[row][lane + 32] = w1;
        if (lane == 0) {
          shrink[row] = factor;
          split_max[row] = max;
          split_weight[row] = fmaf(split_weight[row], factor, strip_weight);
        }
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int row = sum_row + 2 * i;
        if (row >= rows) break;
        for (int e = 0; e < kElements; ++e) sum[i][e] *= shrink[row];
      }
      for (int u = 0; u < tokens; ++u) {
        const int token = first + u;
        const uint8_t* const keys = head_memory + blocks[token / kBlockTokens] * a.t.block_bytes;
        float value[kElements];
        for (int e = 0; e < kElements; ++e) {
          const int d = element + 128 * e;
          value[e] = 0.0f;
          if (d >= value_dim) continue;
          value[e] = kLatent ? ElementAt<kHalf>(keys, d * kBlockTokens + token % kBlockTokens)
                             : ElementAt<kHalf>(keys + a.t.values_offset,
                                                token % kBlockTokens * a.t.value_pitch + d);
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const int row = sum_row + 2 * i;
          if (row >= rows) break;
          const float w = weights[row][u];
          for (int e = 0; e < kElements; ++e) sum[i][e] = fmaf(value[e], w, sum[i][e]);
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = sum_row + 2 * i;
      if (row >= rows) break;
      if (kSplitKv) {
        float* const to = PartialAt(a, static_cast<int>(blockIdx.x), kv_head, split, row);
        for (int e = 0; e < kElements; ++e) {
          if (element + 128 * e < value_dim) to[element + 128 * e] = sum[i][e];
        }
        if (element == 0) {
          to[value_dim] = split_max[row];
          to[value_dim + 1] = split_weight[row];
        }
      } else {
        const Merge m = MergeMaxima(total_max[i], split_max[row]);
        for (int e = 0; e < kElements; ++e) total[i][e] = Merged(m, total[i][e], sum[i][e]);
        total_weight[i] = Merged(m, total_weight[i], split_weight[row]);
        total_max[i] = m.max;
      }
    }
    __syncthreads();
  }
  if constexpr (!kSplitKv) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = sum_row + 2 * i;
      if (row >= rows) break;
      const QueryRow at = QueryAt(a, span, kv_head, tile.y + row);
      float* const to = a.out + at.row * a.out_stride + static_cast<int64_t>(at.head) * value_dim;
      float weight = total_weight[i];
      const float factor = WithSink(a, at.head, total_max[i], weight);
      const float inverse = factor / weight;
      for (int e = 0; e < kElements; ++e) {
        if (element + 128 * e < value_dim) to[element + 128 * e] = total[i][e] * inverse;
      }
    }
  }
}

// The splits of a tile's rows, in order: what Attend does at the end of each when it has them all.
__global__ void MergeSplits(AttendArgs a) {
  const int2 tile = a.tiles[blockIdx.x];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.z);
  const ConclaveCudaSpan span = a.spans[tile.x];
  const int rows = min(kTileRows, span.rows * a.group - tile.y);
  if (row >= rows) return;
  const int longest = QueryAt(a, span, kv_head, tile.y + rows - 1).visible;
  const int begin_split = QueryAt(a, span, kv_head, tile.y).first / kSplit;
  const int splits = (longest + kSplit - 1) / kSplit;
  const int value_dim = a.t.value_dim;
  const QueryRow at = QueryAt(a, span, kv_head, tile.y + row);
  float* const to = a.out + at.row * a.out_stride + static_cast<int64_t>(at.head) * value_dim;
  for (int d = static_cast<int>(threadIdx.x); d < value_dim; d += static_cast<int>(blockDim.x)) {
    float max = -INFINITY;
    float total = 0.0f;
    float weight = 0.0f;
    for (int split = begin_split; split < splits; ++split) {
      const float* const part = PartialAt(a, static_cast<int>(blockIdx.x), kv_head, split, row);
      const Merge m = MergeMaxima(max, part[value_dim]);
      total = Merged(m, total, part[d]);
      weight = Merged(m, weight, part[value_dim + 1]);
      max = m.max;
    }
    const float factor = WithSink(a, at.head, max, weight);
    to[d] = total * (factor / weight);
  }
}

// Query rows of the step's spans, cut into tiles; made once per step, as all layers have the same.
void PlanTiles(ConclaveCudaContext* c, int32_t group) {
  if (c->attention_group == group) return;
  std::vector<int2> tiles;
  for (size_t s = 0; s < c->host_spans.size(); ++s) {
    for (int32_t first = 0; first < c->host_spans[s].rows * group; first += kTileRows) {
      tiles.push_back(make_int2(static_cast<int>(s), first));
    }
  }
  c->num_attention_tiles = static_cast<int32_t>(tiles.size());
  c->attention_tiles = InputOf(c, tiles.data(), static_cast<int64_t>(tiles.size()));
  c->attention_group = group;
}

template <bool kHalf, bool kLatent>
void LaunchAttention(ConclaveCudaContext* c, AttendArgs& a, int64_t longest) {
  const auto tiles = static_cast<unsigned>(c->num_attention_tiles);
  const auto kv_heads = static_cast<unsigned>(a.t.num_kv_heads);
  const int64_t splits = (longest + kSplit - 1) / kSplit;
  const int64_t partial_floats =
      int64_t{tiles} * kv_heads * splits * kTileRows * (a.t.value_dim + 2);
  const bool few = int64_t{tiles} * kv_heads < 2 * c->multiprocessors;
  if (splits > 1 && few && partial_floats * 4 <= kPartialBytesMax) {
    a.splits = static_cast<int>(splits);
    a.partial = ScratchOf<float>(c, kAttentionPartial, partial_floats);
    Launch(c, "attention", Attend<kHalf, true, kLatent>,
           dim3(tiles, kv_heads, static_cast<unsigned>(splits)), kThreads, a);
    Launch(c, "attention", MergeSplits, dim3(tiles, kv_heads, kTileRows), 128u, a);
  } else {
    Launch(c, "attention", Attend<kHalf, false, kLatent>, dim3(tiles, kv_heads), kThreads, a);
  }
}

}  // namespace

void StoreKvOp(ConclaveCudaContext* c, const ConclaveCudaKv* kv, const float* k, int64_t k_stride,
               const float* v, int64_t v_stride) {
  if (c->step_rows == 0) return;
  const Tiles t = TilesOf(*kv);
  const dim3 grid(static_cast<unsigned>(c->step_rows), static_cast<unsigned>(t.num_kv_heads));
  Launch(c, "storing keys", kv->half != 0 ? Store<true> : Store<false>, grid, 128u, t,
         static_cast<uint8_t*>(kv->kv), c->slots, k, k_stride, v, v_stride);
}

void AttentionOp(ConclaveCudaContext* c, const ConclaveCudaKv* kv,
                 const ConclaveCudaAttention* args) {
  if (c->step_rows == 0) return;
  AttendArgs a = {};
  a.t = TilesOf(*kv);
  a.group = args->num_heads / kv->num_kv_heads;
  PlanTiles(c, a.group);
  a.spans = c->spans;
  a.blocks = c->blocks;
  a.tiles = c->attention_tiles;
  a.q = args->q;
  a.q_stride = args->q_stride;
  a.out = args->out;
  a.out_stride = args->out_stride;
  a.scale = args->scale;
  a.window = args->window;
  a.sinks = args->sinks;
  a.slopes = args->alibi_slopes;
  int64_t longest = 0;
  for (const ConclaveCudaSpan& span : c->host_spans) {
    longest = std::max<int64_t>(longest, span.position + span.rows);
  }
  if (a.t.latent) {
    return kv->half != 0 ? LaunchAttention<true, true>(c, a, longest)
                         : LaunchAttention<false, true>(c, a, longest);
  }
  return kv->half != 0 ? LaunchAttention<true, false>(c, a, longest)
                       : LaunchAttention<false, false>(c, a, longest);
}
