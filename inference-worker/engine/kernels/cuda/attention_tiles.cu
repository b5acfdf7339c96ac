// Attention over keys and values in fp16, on the tensor cores.
//
// A sequence is cut into strips of 64 tokens, counted from its beginning. A warp multiplies 16
// query rows with one strip: scores, weights against the strip's own maximum, sums of values from
// zero. The strips of a row are added up in order. For many rows a warp walks the strips of its
// tile, for few every strip has a warp of its own and the sums meet in scratch memory; both are the
// same operations in the same order, so a row's result depends on neither, nor on chunk and batch.
//
// Queries and weights are fp32 and go in as two halves each, what the first leaves being in the
// second: products are those of fp32 to about 22 bits, and keys and values are what is stored.
//
// Keys and values go from memory to fragments without a stop. A lane l has g = l / 4 and q = l % 4.
// Which token or element a fragment's row or column means is free as long as both sides agree, and
// chosen so that a lane reads 16 bytes at a time:
//   scores, step of 16 elements: inner index of lane q: elements 4q..4q+3;
//     column g of tile j: token 8g + j of the strip, i.e. half g % 2 of block g / 2
//   hence of the results lane q has tokens 16q + j and 16q + 8 + j of rows g and g + 8
//   values, step s of 16 tokens: inner index of lane q: tokens 16q + 4s .. + 3;
//     column g of tile j: element 8g + j of a unit of 64
//   hence of the sums lane q has elements 16q + j and 16q + 8 + j of the unit
#include <algorithm>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/attention_args.cuh"
#include "engine/kernels/cuda/attention_strips.cuh"
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/mma.cuh"

namespace {

constexpr int kUnit = 64;       // elements of a value
constexpr int kUnitSteps = 4;   // steps of 16 elements in as many of a key
constexpr int kStripWarps = 8;  // of a block whose warps have a strip each

// The j-th half of each of two vectors of eight.
__device__ inline uint32_t PairAt(const uint4& first, const uint4& second, int j) {
  const uint32_t a = j < 2 ? first.x : j < 4 ? first.y : j < 6 ? first.z : first.w;
  const uint32_t b = j < 2 ? second.x : j < 4 ? second.y : j < 6 ? second.z : second.w;
  return __byte_perm(a, b, j % 2 == 0 ? 0x5410 : 0x7632);
}

// A lane's two rows of a warp's tile, g and g + 8.
struct LaneRows {
  QueryRow at[2];
  float score_factor[2];  // from products to scores in units of log 2
  float slope[2];
};

// Queries of a tile as fragments: [step][high, low][lane]. Warps that share a tile write every
// `warps`-th step each.
__device__ inline LaneRows LoadQueries(const AttendArgs& a, const ConclaveCudaSpan& span,
                                       int kv_head, int first, int rows, int warp, int warps,
                                       uint4* fragments) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int steps = (a.t.head_dim + 15) / 16;
  LaneRows result;
  const float* from[2];
  float largest[2] = {0.0f, 0.0f};
  for (int i = 0; i < 2; ++i) {
    const int row = lane / 4 + 8 * i;
    // Rows there are none of see nothing.
    result.at[i] = row < rows ? QueryAt(a, span, kv_head, first + row) : QueryRow{0, 0, 0, 0};
    result.slope[i] = a.slopes == nullptr ? 0.0f : a.slopes[result.at[i].head] * Binary::kScale;
    from[i] = a.q + result.at[i].row * a.q_stride +
              static_cast<int64_t>(result.at[i].head) * a.t.head_dim;
    for (int d = lane % 4; row < rows && d < a.t.head_dim; d += 4) {
      largest[i] = fmaxf(largest[i], fabsf(from[i][d]));
    }
    const int exponent = ScaleExponent(QuadMax(largest[i]));
    largest[i] = __uint_as_float(static_cast<uint32_t>(267 - exponent) << 23);
    result.score_factor[i] =
        __uint_as_float(static_cast<uint32_t>(exponent - 13) << 23) * (a.scale * Binary::kScale);
  }
  for (int step = warp; step < steps; step += warps) {
    uint32_t high[4], low[4];
    for (int i = 0; i < 2; ++i) {
      float x[4];
      for (int j = 0; j < 4; ++j) {
        const int d = step * 16 + lane % 4 * 4 + j;
        const bool there = lane / 4 + 8 * i < rows && d < a.t.head_dim;
        x[j] = there ? from[i][d] * largest[i] : 0.0f;
      }
      SplitPair(x[0], x[1], high[i], low[i]);
      SplitPair(x[2], x[3], high[2 + i], low[2 + i]);
    }
    fragments[(step * 2) * 32 + lane] = make_uint4(high[0], high[1], high[2], high[3]);
    fragments[(step * 2 + 1) * 32 + lane] = make_uint4(low[0], low[1], low[2], low[3]);
  }
  return result;
}

// The keys and values of a strip that a lane reads.
struct StripAt {
  const uint8_t* keys;    // of its tokens as columns of scores; none beyond the longest
  const uint8_t* values;  // of its tokens as inner index of sums; none beyond the longest
  int first;              // token
  int value_tokens;       // of `values` that there are, up to 16
};
__device__ inline StripAt FindStrip(const AttendArgs& a, const int32_t* blocks,
                                    const uint8_t* head_memory, int strip, int longest) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  StripAt at = {nullptr, nullptr, strip * kStrip, 0};
  const int key_block = strip * kStripBlocks + lane / 8;
  const int value_block = strip * kStripBlocks + lane % 4;
  if (key_block * kBlockTokens < longest) {
    at.keys = head_memory + blocks[key_block] * a.t.block_bytes + lane / 4 % 2 * 16;
  }
  if (value_block * kBlockTokens < longest) {
    at.values = head_memory + blocks[value_block] * a.t.block_bytes + a.t.values_offset;
    at.value_tokens = min(kBlockTokens, longest - value_block * kBlockTokens);
  }
  return at;
}

// `memory` may be none where nothing is there.
__device__ inline uint4 LoadOr0(const uint8_t* memory, int offset, bool there) {
  return there ? __ldg(reinterpret_cast<const uint4*>(memory + offset)) : make_uint4(0, 0, 0, 0);
}

// Products of queries and keys: [tile j][row g: tokens 16q + j, 16q + 8 + j; row g + 8: the same].
__device__ inline void MultiplyKeys(const AttendArgs& a, const StripAt& at, const uint4* fragments,
                                    float (&score)[8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int steps = (a.t.head_dim + 15) / 16;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < 4; ++i) score[j][i] = 0.0f;
  }
#pragma unroll 4
  for (int step = 0; step < steps; ++step) {
    uint4 keys[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int d = step * 16 + lane % 4 * 4 + i;
      keys[i] = LoadOr0(at.keys, d * (kBlockTokens * 2), at.keys != nullptr && d < a.t.head_dim);
    }
    const uint4 h = fragments[(step * 2) * 32 + lane];
    const uint4 l = fragments[(step * 2 + 1) * 32 + lane];
    const uint32_t high[4] = {h.x, h.y, h.z, h.w};
    const uint32_t low[4] = {l.x, l.y, l.z, l.w};
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint32_t b0 = PairAt(keys[0], keys[1], j);
      const uint32_t b1 = PairAt(keys[2], keys[3], j);
      MmaHalf(score[j], low, b0, b1);
      MmaHalf(score[j], high, b0, b1);
    }
  }
}

// Weights of a strip as fragments, and for each of a lane's rows their maximum and sum.
struct StripWeights {
  uint32_t high[4][4];  // [step]
  uint32_t low[4][4];
  float max[2];
  float weight[2];
};
__device__ inline void WeighScores(const AttendArgs& a, const LaneRows& rows, const StripAt& at,
                                   float (&score)[8][4], StripWeights& w) {
  const int q = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const QueryRow& seen = rows.at[row];
    float max = -INFINITY;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& s = score[j][row * 2 + half];
        const int token = at.first + 16 * q + 8 * half + j;
        s *= rows.score_factor[row];
        if (a.slopes != nullptr) {
          s = fmaf(static_cast<float>(token - (seen.visible - 1)), rows.slope[row], s);
        }
        if (token < seen.first || token >= seen.visible) s = -INFINITY;
        max = fmaxf(max, s);
      }
    }
    max = QuadMax(max);
    float weight = 0.0f;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float& s = score[j][row * 2 + half];
        s = max == -INFINITY ? 0.0f : exp2f(s - max);
        weight += s;
      }
    }
    w.max[row] = max;
    w.weight[row] = QuadSum(weight);
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const int i = row * 2 + step / 2;
      const int j = step % 2 * 4;
      SplitPair(score[j][i], score[j + 1][i], w.high[step][row], w.low[step][row]);
      SplitPair(score[j + 2][i], score[j + 3][i], w.high[step][2 + row], w.low[step][2 + row]);
    }
  }
}

// Sums of a unit of the values: [tile j][row g: elements 16q + j, 16q + 8 + j; row g + 8: the
// same].
__device__ inline void MultiplyValues(const AttendArgs& a, const StripAt& at, const StripWeights& w,
                                      int unit, float (&sum)[8][4]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4;
  const int d = unit * kUnit + g * 8;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < 4; ++i) sum[j][i] = 0.0f;
  }
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    uint4 values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = step * 4 + i;
      values[i] = LoadOr0(at.values, (token * a.t.value_pitch + d) * 2,
                          token < at.value_tokens && d < a.t.value_pitch);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint32_t b0 = PairAt(values[0], values[1], j);
      const uint32_t b1 = PairAt(values[2], values[3], j);
      MmaHalf(sum[j], w.low[step], b0, b1);
      MmaHalf(sum[j], w.high[step], b0, b1);
    }
  }
}

// Row `row` (0, 1) of a unit's sums to its elements, times `factor`.
__device__ inline void StoreUnit(const AttendArgs& a, const float (&sum)[8][4], int row, int unit,
                                 float factor, float* to) {
  const int first = unit * kUnit + static_cast<int>(threadIdx.x) % 4 * 16;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (first + i < a.t.value_dim) to[first + i] = sum[i % 8][row * 2 + i / 8] * factor;
  }
}

template <int kUnits>
constexpr int kWalkWarps = kUnits > 2 ? 2 : 4;

// A warp has a tile and walks its strips.
template <int kUnits>
__global__ void __launch_bounds__(kWalkWarps<kUnits> * 32) WalkStrips(AttendArgs a) {
  __shared__ uint4 queries[kWalkWarps<kUnits>][kUnits * kUnitSteps * 2 * 32];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // The last tiles of a sequence see the most: they begin first.
  const int index = a.num_tiles - 1 - static_cast<int>(blockIdx.x) * kWalkWarps<kUnits> - warp;
  if (index < 0) return;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int2 tile = a.tiles[index];
  const ConclaveCudaSpan span = a.spans[tile.x];
  const TileRange range = RangeOf(a, span, tile.y);
  const LaneRows rows = LoadQueries(a, span, kv_head, tile.y, range.rows, 0, 1, queries[warp]);
  __syncwarp();

  float total[kUnits][8][4];
  float total_max[2] = {-INFINITY, -INFINITY};
  float total_weight[2] = {0.0f, 0.0f};
#pragma unroll
  for (int unit = 0; unit < kUnits; ++unit) {
    for (int j = 0; j < 8; ++j) {
      for (int i = 0; i < 4; ++i) total[unit][j][i] = 0.0f;
    }
  }
  const uint8_t* const head_memory = a.t.kv + kv_head * a.t.head_bytes;
  for (int strip = range.first / kStrip; strip * kStrip < range.longest; ++strip) {
    const StripAt at = FindStrip(a, a.blocks + span.first_block, head_memory, strip, range.longest);
    StripWeights w;
    float score[8][4];
    MultiplyKeys(a, at, queries[warp], score);
    WeighScores(a, rows, at, score, w);
    Merge merge[2];
    for (int row = 0; row < 2; ++row) {
      merge[row] = MergeMaxima<Binary>(total_max[row], w.max[row]);
      total_weight[row] = Merged(merge[row], total_weight[row], w.weight[row]);
      total_max[row] = merge[row].max;
    }
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      if (unit * kUnit >= a.t.value_dim) break;
      float sum[8][4];
      MultiplyValues(a, at, w, unit, sum);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          total[unit][j][i] = Merged(merge[i / 2], total[unit][j][i], sum[j][i]);
        }
      }
    }
  }
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    if (lane / 4 + 8 * row >= range.rows) continue;
    const QueryRow& at = rows.at[row];
    const float factor = FinalFactor<Binary>(a, at.head, total_max[row], total_weight[row]);
    float* const to = a.out + at.row * a.out_stride + static_cast<int64_t>(at.head) * a.t.value_dim;
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) StoreUnit(a, total[unit], row, unit, factor, to);
  }
}

// A warp has a tile and one strip; with one block for all strips, it adds them up too.
template <int kUnits>
__global__ void __launch_bounds__(kStripWarps * 32) EachStrip(AttendArgs a) {
  __shared__ uint4 queries[kUnits * kUnitSteps * 2 * 32];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int index = static_cast<int>(blockIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y);
  const int2 tile = a.tiles[index];
  const ConclaveCudaSpan span = a.spans[tile.x];
  const TileRange range = RangeOf(a, span, tile.y);
  const int first = static_cast<int>(blockIdx.z) * kStripWarps;
  // Strips before the first token that any row sees are nobody's.
  if (first * kStrip >= range.longest || (first + kStripWarps) * kStrip <= range.first) return;
  const LaneRows rows =
      LoadQueries(a, span, kv_head, tile.y, range.rows, warp, kStripWarps, queries);
  __syncthreads();
  const int strip = first + warp;
  if (strip * kStrip < range.longest && (strip + 1) * kStrip > range.first) {
    const uint8_t* const head_memory = a.t.kv + kv_head * a.t.head_bytes;
    const StripAt at = FindStrip(a, a.blocks + span.first_block, head_memory, strip, range.longest);
    StripWeights w;
    float score[8][4];
    MultiplyKeys(a, at, queries, score);
    WeighScores(a, rows, at, score, w);
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit) {
      if (unit * kUnit >= a.t.value_dim) break;
      float sum[8][4];
      MultiplyValues(a, at, w, unit, sum);
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        if (lane / 4 + 8 * row >= range.rows) continue;
        float* const to = PartialAt(a, index, kv_head, strip, lane / 4 + 8 * row);
        StoreUnit(a, sum, row, unit, 1.0f, to);
        if (unit == 0 && lane % 4 == 0) {
          to[a.t.value_dim] = w.max[row];
          to[a.t.value_dim + 1] = w.weight[row];
        }
      }
    }
  }
  if (gridDim.z > 1) return;
  __syncthreads();
  const int pieces = (a.t.value_dim + 31) / 32;
  for (int i = warp; i < range.rows * pieces; i += kStripWarps) {
    MergeStrips(a, index, kv_head, i / pieces, i % pieces * 32);
  }
}

// A warp per row of a tile and 32 elements.
__global__ void AddStrips(AttendArgs a) {
  const int index = static_cast<int>(blockIdx.x);
  const int row = static_cast<int>(blockIdx.z);
  const int2 tile = a.tiles[a.first_tile + index];
  if (row >= RangeOf(a, a.spans[tile.x], tile.y).rows) return;
  MergeStrips(a, index, static_cast<int>(blockIdx.y), row, static_cast<int>(threadIdx.x) / 32 * 32);
}

template <int kUnits>
void LaunchUnits(ConclaveCudaContext* c, AttendArgs& a, int64_t longest) {
  const auto tiles = static_cast<unsigned>(a.num_tiles);
  const auto kv_heads = static_cast<unsigned>(a.t.num_kv_heads);
  const int64_t strips = AttentionStrips(longest);
  a.partial_pitch = a.t.value_dim + 2;
  const int64_t partial_floats = int64_t{tiles} * kv_heads * strips * kTileRows * a.partial_pitch;
  // With a warp for every tile and head the device would stand half idle.
  const bool few = int64_t{tiles} * kv_heads < 4 * c->multiprocessors;
  if (!few || partial_floats * 4 > c->attention_bytes_max) {
    Launch(c, "attention", WalkStrips<kUnits>, dim3(CeilDiv(tiles, kWalkWarps<kUnits>), kv_heads),
           kWalkWarps<kUnits> * 32, a);
    return;
  }
  a.parts = static_cast<int>(strips);
  a.partial = ScratchOf<float>(c, kAttentionPartial, partial_floats);
  const unsigned blocks = CeilDiv(strips, kStripWarps);
  Launch(c, "attention", EachStrip<kUnits>, dim3(tiles, kv_heads, blocks), kStripWarps * 32, a);
  if (blocks == 1) return;
  LaunchAddStrips(c, a, tiles);
}

}  // namespace

void LaunchAddStrips(ConclaveCudaContext* c, const AttendArgs& a, unsigned tiles) {
  Launch(c, "attention", AddStrips,
         dim3(tiles, static_cast<unsigned>(a.t.num_kv_heads), static_cast<unsigned>(a.tile_rows)),
         CeilDiv(a.t.value_dim, 32) * 32, a);
}

void LaunchTileAttention(ConclaveCudaContext* c, AttendArgs& a, int64_t longest) {
  PlanTiles(c, a, kTileRows);
  const int widest = std::max(a.t.head_dim, a.t.value_dim);
  if (widest <= kUnit) return LaunchUnits<1>(c, a, longest);
  if (widest <= 2 * kUnit) return LaunchUnits<2>(c, a, longest);
  return LaunchUnits<4>(c, a, longest);
}
