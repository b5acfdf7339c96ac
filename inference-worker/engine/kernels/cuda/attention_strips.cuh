// What the attention kernels on the tensor cores share: fp32 numbers as two halves each, and sums
// over strips of 64 tokens, counted from a sequence's beginning, that are added up in order.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "engine/kernels/cuda/attention_args.cuh"
#include "engine/kernels/cuda/device.cuh"

constexpr int kStrip = 64;
constexpr int kStripBlocks = kStrip / kBlockTokens;
constexpr int kMergedAtOnce = 32;  // strips, one per lane

// Elements 2i, 2i + 1 of a fragment register.
__device__ inline uint32_t Pack(uint16_t even, uint16_t odd) {
  return static_cast<uint32_t>(even) | static_cast<uint32_t>(odd) << 16;
}
// Two floats as halves, and what that leaves of them.
__device__ inline void SplitPair(float even, float odd, uint32_t& high, uint32_t& low) {
  const uint16_t a = ToHalfBits(even);
  const uint16_t b = ToHalfBits(odd);
  high = Pack(a, b);
  low = Pack(ToHalfBits(even - HalfBits(a)), ToHalfBits(odd - HalfBits(b)));
}

// Of the four lanes that have a row of a fragment.
__device__ inline float QuadMax(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}
__device__ inline float QuadSum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

// 2^(13 − exponent) for the largest magnitude of a row: its halves neither overflow nor vanish.
__device__ inline int ScaleExponent(float largest) {
  const int exponent = static_cast<int>(__float_as_uint(largest) >> 23 & 255u);
  return min(max(exponent, 32), 254);
}

// A warp adds up 32 elements of a row's strips, in order.
__device__ inline void MergeStrips(const AttendArgs& a, int tile_index, int kv_head, int row,
                                   int first_element) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int2 tile = a.tiles[a.first_tile + tile_index];
  const ConclaveCudaSpan span = a.spans[tile.x];
  const TileRange range = RangeOf(a, span, tile.y);
  const int begin = range.first / kStrip;
  const int end = (range.longest + kStrip - 1) / kStrip;
  const int d = first_element + lane;
  const int element = min(d, a.t.value_dim - 1);
  float max = -INFINITY;
  float total = 0.0f;
  float weight = 0.0f;
  for (int base = begin; base < end; base += kMergedAtOnce) {
    // Lane i knows what strip base + i is multiplied by: the largest maximum so far is a scan.
    const int strip = base + lane;
    const float* const mine = PartialAt(a, tile_index, kv_head, min(strip, end - 1), row);
    const float strip_max = strip < end ? mine[a.t.value_dim] : -INFINITY;
    const float strip_weight = strip < end ? mine[a.t.value_dim + 1] : 0.0f;
    float scan = strip_max;
    for (int step = 1; step < 32; step *= 2) {
      const float before = __shfl_up_sync(kAllLanes, scan, step);
      if (lane >= step) scan = fmaxf(scan, before);
    }
    const float previous = __shfl_up_sync(kAllLanes, scan, 1);
    const float before = lane == 0 ? max : fmaxf(max, previous);
    const Merge m = MergeMaxima<Binary>(before, strip_max);
#pragma unroll 8
    for (int i = 0; i < kMergedAtOnce; ++i) {
      const Merge at = {0.0f, __shfl_sync(kAllLanes, m.old_factor, i),
                        __shfl_sync(kAllLanes, m.new_factor, i)};
      const float added = __shfl_sync(kAllLanes, strip_weight, i);
      if (base + i >= end) continue;
      total = Merged(at, total, PartialAt(a, tile_index, kv_head, base + i, row)[element]);
      weight = Merged(at, weight, added);
    }
    max = fmaxf(max, __shfl_sync(kAllLanes, scan, 31));
  }
  if (d >= a.t.value_dim) return;
  const QueryRow at = QueryAt(a, span, kv_head, tile.y + row);
  a.out[at.row * a.out_stride + static_cast<int64_t>(at.head) * a.t.value_dim + d] =
      total * FinalFactor<Binary>(a, at.head, max, weight);
}
