// What the attention kernels share: how keys and values lie in memory, which query rows a tile has,
// and how sums over parts of a sequence are added up.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "engine/kernels/cuda/context.cuh"
#include "engine/kernels/cuda/device.cuh"

constexpr int kBlockTokens = 16;
constexpr int kTileRows = 16;  // query rows of a fragment: tokens × heads of the group

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
};

inline Tiles TilesOf(const ConclaveCudaKv& kv) {
  Tiles t;
  const int64_t element = kv.half != 0 ? 2 : 4;
  t.kv = static_cast<const uint8_t*>(kv.kv);
  t.value_pitch = (kv.value_dim + 15) / 16 * 16;
  t.values_offset = int64_t{kv.head_dim} * kBlockTokens * element;
  const bool latent = kv.values_in_keys != 0;
  t.head_bytes = t.values_offset + (latent ? 0 : int64_t{t.value_pitch} * kBlockTokens * element);
  t.block_bytes = t.head_bytes * kv.num_kv_heads;
  t.head_dim = kv.head_dim;
  t.value_dim = kv.value_dim;
  t.num_kv_heads = kv.num_kv_heads;
  return t;
}

template <bool kHalf>
__device__ inline void StoreElement(uint8_t* tile, int index, float x) {
  if (kHalf) {
    reinterpret_cast<uint16_t*>(tile)[index] = ToHalfBits(fminf(fmaxf(x, -65504.0f), 65504.0f));
  } else {
    reinterpret_cast<float*>(tile)[index] = x;
  }
}

struct AttendArgs {
  Tiles t;
  const ConclaveCudaSpan* spans;
  const int32_t* blocks;
  const int2* tiles;  // {span, first row of tokens × heads}, of tile_rows
  const float* q;
  int64_t q_stride;
  float* out;
  int64_t out_stride;
  const float* sinks;   // [query head], or none
  const float* slopes;  // [query head], or none
  float* partial;       // [tile][kv head][part][tile_rows][pitch: value_dim sums, maximum, weight]
  int64_t partial_pitch;
  int num_tiles;
  int parts;   // of `partial`
  int group;   // query heads per kv head
  int window;  // tokens a row sees; 0 = all before it
  float scale;
  int tile_rows;   // a multiple of kTileRows
  int first_tile;  // of the launch, where a step takes several; `partial` begins with it
  int span_rows;   // spans of more have no tiles
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

// Rows of a tile, and the tokens that any of them sees.
struct TileRange {
  int rows;
  int first;
  int longest;
};
__device__ inline TileRange RangeOf(const AttendArgs& a, const ConclaveCudaSpan& span, int first) {
  const int rows = min(a.tile_rows, span.rows * a.group - first);
  return {rows, QueryAt(a, span, 0, first).first, QueryAt(a, span, 0, first + rows - 1).visible};
}

__device__ inline float* PartialAt(const AttendArgs& a, int tile, int kv_head, int part, int row) {
  const int64_t at =
      ((static_cast<int64_t>(tile) * a.t.num_kv_heads + kv_head) * a.parts + part) * a.tile_rows +
      row;
  return a.partial + at * a.partial_pitch;
}

// Exponentials of scores as a kernel has them: natural, or scaled by log2(e).
struct Natural {
  __device__ static float Exp(float x) { return expf(x); }
  static constexpr float kScale = 1.0f;
};
struct Binary {
  __device__ static float Exp(float x) { return exp2f(x); }
  static constexpr float kScale = 1.44269504088896341f;
};

// What the sums so far and a part's are multiplied by when the two are added up.
struct Merge {
  float max;
  float old_factor;
  float new_factor;
};
template <typename Base>
__device__ inline Merge MergeMaxima(float old_max, float new_max) {
  if (new_max == -INFINITY) return {old_max, 1.0f, 0.0f};
  const float max = fmaxf(old_max, new_max);
  return {max, old_max == -INFINITY ? 0.0f : Base::Exp(old_max - max), Base::Exp(new_max - max)};
}
__device__ inline float Merged(const Merge& m, float old_sum, float new_sum) {
  return fmaf(new_sum, m.new_factor, old_sum * m.old_factor);
}

// What a row's sums are multiplied by in the end. A sink adds to the weights of its row and to
// nothing else.
template <typename Base>
__device__ inline float FinalFactor(const AttendArgs& a, int head, float max, float weight) {
  if (a.sinks == nullptr) return 1.0f / weight;
  const Merge m = MergeMaxima<Base>(max, a.sinks[head] * Base::kScale);
  return m.old_factor / fmaf(1.0f, m.new_factor, weight * m.old_factor);
}

// Query rows of the step's spans, cut into tiles, unless there are some; made once per step, as all
// layers have the same.
void PlanTiles(ConclaveCudaContext*, AttendArgs&, int tile_rows);

// The three kinds of kernels. `longest` is the most tokens that a row of the step sees.
// Keys and values in fp16, values apart: on the tensor cores.
void LaunchTileAttention(ConclaveCudaContext*, AttendArgs&, int64_t longest);
// Latents in fp16: on the tensor cores too.
void LaunchLatentAttention(ConclaveCudaContext*, AttendArgs&, int64_t longest);
// All that is kept in fp32: on the vector units.
void LaunchVectorAttention(ConclaveCudaContext*, AttendArgs&, int64_t longest, bool latent);

// Adds up the strips' sums of `tiles` tiles from `first_tile` on, in order (attention_tiles.cu).
void LaunchAddStrips(ConclaveCudaContext*, const AttendArgs&, unsigned tiles);
