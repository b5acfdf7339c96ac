// Attention over latents in fp16, whose values are the first elements of their keys, on the tensor
// cores.
//
// All query heads share what is kept, so a block has many query rows, tokens × heads, and brings a
// strip of 64 tokens into shared memory once for all of them. Its warps are kTiles × kShare: each
// 16 rows have kShare warps, which share the tokens of scores among them, then the elements of
// sums. In between every row's scores become weights against the strip's own maximum. Strips are
// added up in order, by the block that walks them or, where rows are few, by a second launch after
// blocks of one strip each: the same operations, as for attention_tiles.cu. Which block a row lies
// in changes nothing of it either: a result depends neither on the number of rows nor on chunk and
// batch.
//
// Queries and weights are two halves each, what the first leaves being in the second.
//
// Shared memory, a row of 16 tokens of an element being 32 bytes as in the cache:
//   latents  [block of the strip][element][2 halves of the 16 tokens; changed over where the
//   element
//            has bit 2, so that no eight rows of a matrix meet in a bank]
//   weights  [tile][eight tokens][rows g, rows g + 8][lane]: two scores, then two weights as
//            {high, low}, of tokens 2q, 2q + 1, where a lane l has g = l / 4 and q = l % 4
//   rows     [row]: RowState
//   queries  [tile][step of 16 elements][high, low][lane]: fragments of as many steps as there is
//            room for; those of the others are made anew for each strip
//
// Once a quarter of the values has been read by all, the next strip's comes in its place.
#include <algorithm>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/attention_args.cuh"
#include "engine/kernels/cuda/attention_strips.cuh"
#include "engine/kernels/cuda/copy_async.cuh"
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/shared_memory.cuh"

namespace {

constexpr int kEights = kStrip / 8;        // of a strip's tokens
constexpr int kPlaces = kEights * 2 * 32;  // of a tile's weights
constexpr int kQuarter = CONCLAVE_CUDA_LATENT_MAX / 4;
constexpr int kTogether = 4;  // eights of elements whose sums a warp makes side by side

// What of the keys lies where; the host decides.
struct Widths {
  int steps;           // of 16 elements of a key
  int resident_steps;  // whose queries stay in shared memory
};

struct RowState {
  float to_halves;     // what a query is multiplied by before it is cut in two
  float score_factor;  // from products to scores in units of log 2
  float slope;
  int visible;  // the token after the last that it sees; 0 where there is no row
  float max;    // of the strips so far, and their weight
  float weight;
  float old;    // what sums so far are multiplied by
  float added;  // what the strip's are multiplied by
};

struct Shared {
  uint8_t* latents;
  uint2* weights;
  RowState* rows;
  uint4* queries;
};
template <int kTiles>
__device__ inline Shared SharedOf(const Widths& w) {
  Shared s;
  s.latents = SharedMemory();
  s.weights = reinterpret_cast<uint2*>(s.latents + w.steps * 16 * kStrip * 2);
  s.rows = reinterpret_cast<RowState*>(s.weights + kTiles * kPlaces);
  s.queries = reinterpret_cast<uint4*>(s.rows + kTiles * kTileRows);
  return s;
}
template <int kTiles>
int64_t SharedBytes(int steps, int resident_steps) {
  const int64_t all = int64_t{steps} * 16 * kStrip * 2 + kTiles * kPlaces * int64_t{sizeof(uint2)} +
                      kTiles * kTileRows * int64_t{sizeof(RowState)} +
                      int64_t{kTiles} * resident_steps * 1024;
  // Sums are made of eights side by side, the last of which may lie beyond the values: anything is
  // read for them, and nobody asks for what comes out.
  return std::max(all, int64_t{steps} * 512 * (kStripBlocks - 1) + CONCLAVE_CUDA_LATENT_MAX * 32);
}

// --- latents ------------------------------------------------------------------------------------

// Where half `half` of an element's 16 tokens is among the block's bytes.
__device__ inline int PlaceOf(int element, int half) {
  return element * 32 + (half ^ (element >> 2 & 1)) * 16;
}

// Those of eight tokens that there are; zeros for the others.
__device__ inline uint4 FirstTokens(const uint4& x, int tokens) {
  uint32_t mask[4];
  for (int i = 0; i < 4; ++i) {
    mask[i] = tokens >= 2 * i + 2 ? 0xffffffffu : tokens > 2 * i ? 0xffffu : 0u;
  }
  return make_uint4(x.x & mask[0], x.y & mask[1], x.z & mask[2], x.w & mask[3]);
}

// Elements from, …, to - 1 of a strip, by all threads of the block. Tokens and elements there are
// none of are zeros.
__device__ inline void CopyElements(const AttendArgs& a, const Widths& w, const int32_t* blocks,
                                    int strip, int longest, int from, int to, uint8_t* latents) {
  const int threads = static_cast<int>(blockDim.x);
  for (int b = 0; b < kStripBlocks; ++b) {
    const int first = strip * kStrip + b * kBlockTokens;
    const uint8_t* const memory =
        first < longest ? a.t.kv + blocks[first / kBlockTokens] * a.t.block_bytes : nullptr;
    uint8_t* const block = latents + b * w.steps * 512;
    for (int i = from * 2 + static_cast<int>(threadIdx.x); i < to * 2; i += threads) {
      uint8_t* const place = block + PlaceOf(i / 2, i % 2);
      const int tokens = i / 2 < a.t.head_dim ? longest - first - i % 2 * 8 : 0;
      if (tokens >= 8) {
        CopyAsync<16>(place, memory + i * 16);
      } else {
        *reinterpret_cast<uint4*>(place) =
            tokens <= 0
                ? make_uint4(0, 0, 0, 0)
                : FirstTokens(__ldg(reinterpret_cast<const uint4*>(memory + i * 16)), tokens);
      }
    }
  }
}

// --- queries ------------------------------------------------------------------------------------

// Query rows of the block.
struct BlockRows {
  ConclaveCudaSpan span;
  int first;  // of the span's rows × heads
  int rows;
};

__device__ inline const float* QueryOf(const AttendArgs& a, const QueryRow& at) {
  return a.q + at.row * a.q_stride + static_cast<int64_t>(at.head) * a.t.head_dim;
}

// The block's rows before their first strip. Factors bring each row's largest element to where its
// halves neither overflow nor vanish.
__device__ inline void PrepareRows(const AttendArgs& a, const BlockRows& block, int all,
                                   RowState* rows) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  for (int row = static_cast<int>(threadIdx.x) / 32; row < all; row += warps) {
    RowState state = {0.0f, 0.0f, 0.0f, 0, -INFINITY, 0.0f, 0.0f, 0.0f};
    if (row < block.rows) {
      const QueryRow at = QueryAt(a, block.span, 0, block.first + row);
      const float* const from = QueryOf(a, at);
      float largest = 0.0f;
      for (int d = lane; d < a.t.head_dim; d += 32) largest = fmaxf(largest, fabsf(from[d]));
      const int exponent = ScaleExponent(WarpMax(largest));
      state.to_halves = __uint_as_float(static_cast<uint32_t>(267 - exponent) << 23);
      state.score_factor =
          __uint_as_float(static_cast<uint32_t>(exponent - 13) << 23) * (a.scale * Binary::kScale);
      if (a.slopes != nullptr) state.slope = a.slopes[at.head] * Binary::kScale;
      state.visible = at.visible;
    }
    if (lane == 0) rows[row] = state;
  }
}

struct QueryFragments {
  uint32_t high[4];
  uint32_t low[4];
};

// A lane's two rows of a tile, g and g + 8; none where there is no row.
struct LaneQueries {
  const float* from[2];
  float to_halves[2];
};
__device__ inline LaneQueries FindQueries(const AttendArgs& a, const BlockRows& block, int tile,
                                          const RowState* rows) {
  LaneQueries q;
  for (int i = 0; i < 2; ++i) {
    const int row = tile * kTileRows + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * i;
    const bool there = row < block.rows;
    q.from[i] = there ? QueryOf(a, QueryAt(a, block.span, 0, block.first + row)) : nullptr;
    q.to_halves[i] = there ? rows[row].to_halves : 0.0f;
  }
  return q;
}
__device__ inline QueryFragments MakeFragments(const AttendArgs& a, const LaneQueries& q,
                                               int step) {
  QueryFragments f;
  for (int i = 0; i < 2; ++i) {
    float x[4];
    for (int j = 0; j < 4; ++j) {
      const int d = step * 16 + static_cast<int>(threadIdx.x) % 4 * 2 + j % 2 + j / 2 * 8;
      x[j] = q.from[i] != nullptr && d < a.t.head_dim ? q.from[i][d] * q.to_halves[i] : 0.0f;
    }
    SplitPair(x[0], x[1], f.high[i], f.low[i]);
    SplitPair(x[2], x[3], f.high[2 + i], f.low[2 + i]);
  }
  return f;
}

// Those of the steps that there is room for, by the warps that share a tile.
template <int kShare>
__device__ inline void StoreQueries(const AttendArgs& a, const Widths& w, const Shared& s,
                                    const BlockRows& block) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int tile = warp / kShare;
  const LaneQueries q = FindQueries(a, block, tile, s.rows);
  for (int step = warp % kShare; step < w.resident_steps; step += kShare) {
    const QueryFragments f = MakeFragments(a, q, step);
    uint4* const to = s.queries + (tile * w.resident_steps + step) * 64 + lane;
    to[0] = make_uint4(f.high[0], f.high[1], f.high[2], f.high[3]);
    to[32] = make_uint4(f.low[0], f.low[1], f.low[2], f.low[3]);
  }
}

// --- scores -------------------------------------------------------------------------------------

// Products of a step of the queries and the warp's blocks of 16 tokens.
template <int kBlocks>
__device__ inline void MultiplyStep(const QueryFragments& f, const uint8_t* keys, int block_bytes,
                                    float (&score)[kBlocks * 2][4]) {
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    uint32_t k[4];
    LoadTurned(k, keys + b * block_bytes);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      MmaHalf(score[b * 2 + i], f.low, k[i * 2], k[i * 2 + 1]);
      MmaHalf(score[b * 2 + i], f.high, k[i * 2], k[i * 2 + 1]);
    }
  }
}

// Scores of the warp's tile and share of the tokens.
template <int kShare>
__device__ inline void MultiplyKeys(const AttendArgs& a, const Widths& w, const Shared& s,
                                    const BlockRows& block) {
  constexpr int kBlocks = kStripBlocks / kShare;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int tile = static_cast<int>(threadIdx.x) / 32 / kShare;
  const int first_block = static_cast<int>(threadIdx.x) / 32 % kShare * kBlocks;
  const int block_bytes = w.steps * 512;
  float score[kBlocks * 2][4];
#pragma unroll
  for (int j = 0; j < kBlocks * 2; ++j) {
    for (int i = 0; i < 4; ++i) score[j][i] = 0.0f;
  }
  // Matrices: elements 0..7 and 8..15 of the first eight tokens, then of the others.
  const int matrix = lane / 8;
  const uint8_t* const keys =
      s.latents + first_block * block_bytes + PlaceOf(matrix % 2 * 8 + lane % 8, matrix / 2);
  const uint4* const resident = s.queries + tile * w.resident_steps * 64 + lane;
#pragma unroll 2
  for (int step = 0; step < w.resident_steps; ++step) {
    const uint4 h = resident[step * 64];
    const uint4 l = resident[step * 64 + 32];
    const QueryFragments f = {{h.x, h.y, h.z, h.w}, {l.x, l.y, l.z, l.w}};
    MultiplyStep<kBlocks>(f, keys + step * 512, block_bytes, score);
  }
  if (w.resident_steps < w.steps) {
    const LaneQueries q = FindQueries(a, block, tile, s.rows);
    for (int step = w.resident_steps; step < w.steps; ++step) {
      MultiplyStep<kBlocks>(MakeFragments(a, q, step), keys + step * 512, block_bytes, score);
    }
  }
  uint2* const to = s.weights + tile * kPlaces + first_block * 2 * 64 + lane;
#pragma unroll
  for (int j = 0; j < kBlocks * 2; ++j) {
    for (int i = 0; i < 2; ++i) {
      to[(j * 2 + i) * 32] =
          make_uint2(__float_as_uint(score[j][i * 2]), __float_as_uint(score[j][i * 2 + 1]));
    }
  }
}

// --- weights ------------------------------------------------------------------------------------

// Row of the block whose places of weights a thread has.
__device__ inline int WeighedRow() {
  const int thread = static_cast<int>(threadIdx.x);
  return thread / 64 * kTileRows + thread / 32 % 2 * 8 + thread % 32 / 4;
}

// A strip's scores to weights, in place, and what adds it to the sums so far. Of each row four
// threads, one for every lane that has a part of it in fragments.
__device__ inline void WeighScores(const AttendArgs& a, int first_token, const Shared& s) {
  const int thread = static_cast<int>(threadIdx.x);
  uint2* const places = s.weights + thread / 64 * kPlaces + thread % 64;
  RowState* const state = s.rows + WeighedRow();
  const RowState row = *state;
  const int first_seen = a.window > 0 ? row.visible - a.window : 0;
  float score[kEights][2];
  float max = -INFINITY;
#pragma unroll
  for (int j = 0; j < kEights; ++j) {
    const uint2 both = places[j * 64];
    score[j][0] = __uint_as_float(both.x) * row.score_factor;
    score[j][1] = __uint_as_float(both.y) * row.score_factor;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = first_token + j * 8 + thread % 4 * 2 + i;
      if (a.slopes != nullptr) {
        score[j][i] = fmaf(static_cast<float>(token - (row.visible - 1)), row.slope, score[j][i]);
      }
      if (token < first_seen || token >= row.visible) score[j][i] = -INFINITY;
      max = fmaxf(max, score[j][i]);
    }
  }
  max = QuadMax(max);
  float weight = 0.0f;
#pragma unroll
  for (int j = 0; j < kEights; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      score[j][i] = max == -INFINITY ? 0.0f : exp2f(score[j][i] - max);
      weight += score[j][i];
    }
    uint2 halves;
    SplitPair(score[j][0], score[j][1], halves.x, halves.y);
    places[j * 64] = halves;
  }
  weight = QuadSum(weight);  // behind it all four have read the row's state
  if (thread % 4 != 0) return;
  const Merge merge = MergeMaxima<Binary>(row.max, max);
  state->max = merge.max;
  state->weight = Merged(merge, row.weight, weight);
  state->old = merge.old_factor;
  state->added = merge.new_factor;
}

// --- sums ---------------------------------------------------------------------------------------

// Weights of a warp's tile as fragments, and what its rows g and g + 8 are multiplied by.
struct TileWeights {
  uint32_t high[kStripBlocks][4];
  uint32_t low[kStripBlocks][4];
  Merge merge[2];
};
__device__ inline TileWeights LoadWeights(const Shared& s, int tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  TileWeights w;
#pragma unroll
  for (int step = 0; step < kStripBlocks; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint2 halves = s.weights[tile * kPlaces + (step * 4 + i / 2 * 2 + i % 2) * 32 + lane];
      w.high[step][i] = halves.x;
      w.low[step][i] = halves.y;
    }
  }
  for (int i = 0; i < 2; ++i) {
    const RowState& row = s.rows[tile * kTileRows + lane / 4 + 8 * i];
    w.merge[i] = {0.0f, row.old, row.added};
  }
  return w;
}

// The strip's sums of kTogether eights of elements, which lie kShare apart, onto those so far.
template <int kShare>
__device__ inline void AddEights(const Widths& w, const uint8_t* latents,
                                 const TileWeights& weights, int first_eight, float (*total)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int matrix = lane / 8;  // tokens 0..7 and 8..15 of a block, then of the next
  const uint8_t* const at =
      latents + matrix / 2 * w.steps * 512 + PlaceOf(first_eight * 8 + lane % 8, matrix % 2);
  float sum[kTogether][4];
#pragma unroll
  for (int e = 0; e < kTogether; ++e) {
    for (int i = 0; i < 4; ++i) sum[e][i] = 0.0f;
  }
#pragma unroll
  for (int step = 0; step < kStripBlocks; step += 2) {
#pragma unroll
    for (int e = 0; e < kTogether; ++e) {
      uint32_t v[4];
      LoadMatrices(v, at + e * kShare * 256 + step * w.steps * 512);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        MmaHalf(sum[e], weights.low[step + i], v[i * 2], v[i * 2 + 1]);
        MmaHalf(sum[e], weights.high[step + i], v[i * 2], v[i * 2 + 1]);
      }
    }
  }
#pragma unroll
  for (int e = 0; e < kTogether; ++e) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      total[e][i] = Merged(weights.merge[i / 2], total[e][i], sum[e][i]);
    }
  }
}

// Two elements of a row.
__device__ inline void StorePair(float* to, int d, int value_dim, float even, float odd) {
  if (d + 1 < value_dim && reinterpret_cast<uintptr_t>(to) % 8 == 0) {
    *reinterpret_cast<float2*>(to + d) = make_float2(even, odd);
    return;
  }
  if (d < value_dim) to[d] = even;
  if (d + 1 < value_dim) to[d + 1] = odd;
}

// The strips that a block has: all of its tile's, or with `parts` one.
struct StripRange {
  int first;
  int end;
};
__device__ inline StripRange StripsOf(const AttendArgs& a, const TileRange& range) {
  const StripRange all = {range.first / kStrip, (range.longest + kStrip - 1) / kStrip};
  if (a.parts == 0) return all;
  const int mine = static_cast<int>(blockIdx.z);
  return {max(mine, all.first), min(mine + 1, all.end)};
}

// What a row's sums are multiplied by in the end; where they go on, its maximum and weight go too.
__device__ inline float FinishRow(const AttendArgs& a, const BlockRows& block, int row,
                                  const RowState& state, float* to) {
  if (a.parts == 0) {
    const int head = QueryAt(a, block.span, 0, block.first + row).head;
    return FinalFactor<Binary>(a, head, state.max, state.weight);
  }
  to[a.t.value_dim] = state.max;
  to[a.t.value_dim + 1] = state.weight;
  return 1.0f;
}
// Where a row's sums go.
__device__ inline float* SumsOf(const AttendArgs& a, const BlockRows& block, int index, int strip,
                                int row) {
  if (a.parts > 0) return PartialAt(a, index, 0, strip, row);
  const QueryRow at = QueryAt(a, block.span, 0, block.first + row);
  return a.out + at.row * a.out_stride + static_cast<int64_t>(at.head) * a.t.value_dim;
}

template <int kTiles, int kShare>
constexpr int kBlockThreads = kTiles * kShare * 32;

template <int kTiles, int kShare>
__global__ void __launch_bounds__(kBlockThreads<kTiles, kShare>, kTiles == 1 ? 2 : 1)
    AttendLatents(AttendArgs a, Widths w) {
  constexpr int kWarpEights = CONCLAVE_CUDA_LATENT_MAX / 8 / kShare;
  constexpr int kQuarterEights = kWarpEights / 4;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int tile = static_cast<int>(threadIdx.x) / 32 / kShare;
  const int share = static_cast<int>(threadIdx.x) / 32 % kShare;
  // The last tiles of a sequence see the most: they begin first.
  const int index = static_cast<int>(gridDim.x - 1 - blockIdx.x);
  const int2 place = a.tiles[a.first_tile + index];
  const ConclaveCudaSpan span = a.spans[place.x];
  const TileRange range = RangeOf(a, span, place.y);
  const BlockRows block = {span, place.y, range.rows};
  const StripRange strips = StripsOf(a, range);
  if (strips.first >= strips.end) return;
  const Shared s = SharedOf<kTiles>(w);
  const int32_t* const blocks = a.blocks + span.first_block;
  CopyElements(a, w, blocks, strips.first, range.longest, 0, w.steps * 16, s.latents);

  PrepareRows(a, block, kTiles * kTileRows, s.rows);
  __syncthreads();
  StoreQueries<kShare>(a, w, s, block);

  float total[kWarpEights][4];
#pragma unroll
  for (int e = 0; e < kWarpEights; ++e) {
    for (int i = 0; i < 4; ++i) total[e][i] = 0.0f;
  }
  const int values_end = (a.t.value_dim + 7) / 8 * 8;
  for (int strip = strips.first; strip < strips.end; ++strip) {
    CommitCopies();
    WaitCopies<0>();
    __syncthreads();
    MultiplyKeys<kShare>(a, w, s, block);
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < kTiles * 64) WeighScores(a, strip * kStrip, s);
    __syncthreads();
    const bool more = strip + 1 < strips.end;
    if (more) {
      CopyElements(a, w, blocks, strip + 1, range.longest, values_end, w.steps * 16, s.latents);
    }
    const TileWeights weights = LoadWeights(s, tile);
#pragma unroll
    for (int quarter = 0; quarter < 4; ++quarter) {
      if (quarter * kQuarter >= a.t.value_dim) break;
#pragma unroll
      for (int e = quarter * kQuarterEights; e < (quarter + 1) * kQuarterEights; e += kTogether) {
        AddEights<kShare>(w, s.latents, weights, e * kShare + share, &total[e]);
      }
      if (!more) continue;
      __syncthreads();
      CopyElements(a, w, blocks, strip + 1, range.longest, quarter * kQuarter,
                   min((quarter + 1) * kQuarter, values_end), s.latents);
    }
  }

#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = tile * kTileRows + lane / 4 + 8 * i;
    if (row >= block.rows) continue;
    float* const to = SumsOf(a, block, index, strips.first, row);
    const float factor = FinishRow(a, block, row, s.rows[row], to);
#pragma unroll
    for (int e = 0; e < kWarpEights; ++e) {
      StorePair(to, (e * kShare + share) * 8 + lane % 4 * 2, a.t.value_dim,
                total[e][i * 2] * factor, total[e][i * 2 + 1] * factor);
    }
  }
}

int64_t CountTiles(const ConclaveCudaContext* c, const AttendArgs& a, int64_t rows) {
  int64_t tiles = 0;
  for (const ConclaveCudaSpan& span : c->host_spans) {
    if (span.rows <= a.span_rows) tiles += CeilDiv(int64_t{span.rows} * a.group, rows);
  }
  return tiles;
}

template <int kTiles, int kShare>
void LaunchTiles(ConclaveCudaContext* c, AttendArgs& a, int64_t longest, bool walks) {
  if (!c->latent_kernels_ask[kTiles > 1]) {
    if (!Check(c,
               cudaFuncSetAttribute(AttendLatents<kTiles, kShare>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(c->shared_bytes_max)),
               "shared memory of attention")) {
      return;
    }
    c->latent_kernels_ask[kTiles > 1] = true;
  }
  PlanTiles(c, a, kTiles * kTileRows);
  Widths w;
  w.steps = (a.t.head_dim + 15) / 16;
  const int64_t left = c->shared_bytes_max - SharedBytes<kTiles>(w.steps, 0);
  w.resident_steps = static_cast<int>(std::clamp<int64_t>(left / (kTiles * 1024), 0, w.steps));
  const auto bytes = static_cast<size_t>(SharedBytes<kTiles>(w.steps, w.resident_steps));
  const auto attend = [&](unsigned tiles) {
    LaunchShared(c, "attention", AttendLatents<kTiles, kShare>,
                 dim3(tiles, 1, static_cast<unsigned>(std::max(a.parts, 1))),
                 kBlockThreads<kTiles, kShare>, bytes, a, w);
  };
  a.partial_pitch = a.t.value_dim + 2;
  const int64_t strips = AttentionStrips(longest);
  const int64_t tile_floats = strips * kTiles * kTileRows * a.partial_pitch;
  const int64_t at_once =
      std::min<int64_t>(a.num_tiles, c->attention_bytes_max / (tile_floats * 4));
  if (walks || at_once == 0) return attend(static_cast<unsigned>(a.num_tiles));
  a.parts = static_cast<int>(strips);
  a.partial = ScratchOf<float>(c, kAttentionPartial, at_once * tile_floats);
  for (a.first_tile = 0; a.first_tile < a.num_tiles;
       a.first_tile += static_cast<int32_t>(at_once)) {
    const auto tiles =
        static_cast<unsigned>(std::min<int64_t>(at_once, a.num_tiles - a.first_tile));
    attend(tiles);
    LaunchAddStrips(c, a, tiles);
  }
}

}  // namespace

void LaunchLatentAttention(ConclaveCudaContext* c, AttendArgs& a, int64_t longest) {
  constexpr int kWide = 4;
  const int64_t narrow = CountTiles(c, a, kTileRows);
  const int64_t wide = CountTiles(c, a, kWide * kTileRows);
  // A wide tile reads the latents once for four; with most of it empty, or with fewer blocks than
  // the device has room for, that is no gain. Of narrow ones a multiprocessor has two at a time.
  // Walking leaves no sums of strips behind, and wants blocks for half the device at least.
  const bool filled = wide * kWide * 2 <= narrow * 3;
  if (filled && wide * AttentionStrips(longest) >= c->multiprocessors) {
    LaunchTiles<kWide, 2>(c, a, longest, wide * 2 >= c->multiprocessors);
  } else {
    LaunchTiles<1, 4>(c, a, longest, narrow >= c->multiprocessors);
  }
}
