// What the matrix files share: the work of a launch, and how its blocks find their part.
//
// The order of every sum is fixed by the shape alone: inputs in chunks of 256, one chain within a
// chunk (of fused multiply-adds, or of products on the tensor cores), chunks added in order.
// Kernels for few and for many rows keep to it, so which of them runs changes no bit.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"
#include "engine/quant/panel.h"

constexpr int kMaxOutputs = 4;   // of one launch
constexpr int kTileWidth = 64;   // slots of a tile at most,
constexpr int kFastWidth = 128;  // and where all that it meets is for MultiplyFast
constexpr int kChunkGroups = 8;
constexpr int kChunk = kChunkGroups * 32;

// One matrix (or stack) of a launch. All of a launch have the same kind and inputs.
struct MatrixRun {
  const uint8_t* panels;
  const float* bias;  // [matrices][out]
  float* y;
  int64_t y_stride;
  int32_t out;
  int32_t unused;  // no gap: launches are compared by their bytes
};

// Which activation rows meet which matrix of a stack. Without a list: rows in order, matrix 0.
struct TilePlan {
  const int4* tiles = nullptr;           // {matrix, first slot, slots}
  const int32_t* num_tiles = nullptr;    // on the device
  const int32_t* row_of_slot = nullptr;  // where a slot's activations are; none = at its own index
  int32_t max_tiles = 0;
  int32_t rows = 0;   // without a list
  int32_t heads = 0;  // a stack of one matrix per head: activations and results are [row][head]
  int32_t width = 0;  // slots of a tile at most
  bool many = false;  // the kernels for many rows, where they have enough blocks
};

struct MatrixLaunch {
  MatrixRun runs[kMaxOutputs];
  int32_t num_runs;
  int32_t in;
  int64_t panel_bytes;
  int64_t quant_bytes;
  const int4* tiles;
  const int32_t* num_tiles;
  const int32_t* row_of_slot;
  int32_t rows;
  int32_t heads;
  int32_t width;
  int32_t aligned;  // x may be read 16 bytes at a time
  // Quantised kinds:
  const int8_t* q;
  const float2* meta;
  // In place of q and meta, for tiles of 64 and of kFastWidth (fast_matmul.cu): fp16 rows and what
  // to multiply by.
  const uint16_t* halves;
  const float* half_scales;
  // Float kinds:
  const float* x;
  int64_t x_stride;
};

// Activations of a launch: int8 or fp16 rows without gaps, and fp32 rows; the kinds say which is
// read.
struct Activations {
  const int8_t* q = nullptr;
  const float2* meta = nullptr;
  const uint16_t* halves = nullptr;
  const float* half_scales = nullptr;
  const float* x = nullptr;
  int64_t x_stride = 0;
};

// y = x · weightᵀ + bias for `num` outputs, of any kinds.
void MultiplyAll(ConclaveCudaContext* c, const ConclaveCudaOutput* outputs, int num,
                 const Activations& activations, const TilePlan& plan);
// One kind; in quant_matmul.cu, fast_matmul.cu, half_matmul.cu and float_matmul.cu (F32).
void MultiplyQuantised(ConclaveCudaContext* c, conclave::engine::PanelKind kind,
                       const MatrixLaunch& launch, const TilePlan& plan);
void MultiplyFast(ConclaveCudaContext* c, conclave::engine::PanelKind kind,
                  const MatrixLaunch& launch, const TilePlan& plan);
void MultiplyHalves(ConclaveCudaContext* c, conclave::engine::PanelKind kind,
                    const MatrixLaunch& launch, const TilePlan& plan);
void MultiplyFloats(ConclaveCudaContext* c, const MatrixLaunch& launch, const TilePlan& plan);

// Rows of x, `stride` apart, as MultiplyFast takes them: halves [rows][n], scales [rows].
void HalveRowsOf(ConclaveCudaContext* c, const float* x, int64_t stride, int64_t rows, int64_t n,
                 uint16_t* halves, float* scales);
// The same of act(gate) · up, both [rows][n] without gaps; of act(up) without a gate.
void HalveActivated(ConclaveCudaContext* c, int activation, const float* gate, const float* up,
                    int64_t rows, int64_t n, uint16_t* halves, float* scales);

// Plain rows; kernels by how many there are.
TilePlan PlanRows(const ConclaveCudaContext* c, int64_t rows);

// Tiles of a plan, at `width` slots each.
inline unsigned TilesOf(const TilePlan& plan, int width) {
  if (plan.tiles != nullptr) return static_cast<unsigned>(plan.max_tiles);
  return CeilDiv(plan.rows, width) * static_cast<unsigned>(plan.heads > 0 ? plan.heads : 1);
}

// Blocks of a launch along x, `panels` panels of 16 outputs each.
inline unsigned PanelBlocks(const MatrixLaunch& launch, int panels) {
  unsigned blocks = 0;
  for (int i = 0; i < launch.num_runs; ++i) blocks += CeilDiv(launch.runs[i].out, 16 * panels);
  return blocks;
}

struct Tile {
  int matrix;
  int first;
  int count;  // 0: nothing to do
};
__device__ inline Tile TileAt(const MatrixLaunch& launch, int index) {
  if (launch.tiles == nullptr) {
    const int each = (launch.rows + launch.width - 1) / launch.width;
    const int first = index % each * launch.width;
    return {index / each, first, min(launch.width, launch.rows - first)};
  }
  if (index >= *launch.num_tiles) return {0, 0, 0};
  const int4 tile = launch.tiles[index];
  return {tile.x, tile.y, tile.z};
}

struct Place {
  int run;
  int panel;   // the block's first
  int panels;  // of one matrix
};
__device__ inline Place PlaceOf(const MatrixLaunch& launch, int block, int panels) {
  int run = 0;
  for (;; ++run) {
    const int blocks = (launch.runs[run].out + 16 * panels - 1) / (16 * panels);
    if (block < blocks) break;
    block -= blocks;
  }
  return {run, block * panels, (launch.runs[run].out + 15) / 16};
}

// Where the i-th slot of a tile has its activations, and its result.
__device__ inline int RowOf(const MatrixLaunch& launch, const Tile& tile, int i) {
  const int slot = tile.first + i;
  if (launch.heads > 0) return slot * launch.heads + tile.matrix;
  return launch.row_of_slot == nullptr ? slot : launch.row_of_slot[slot];
}
__device__ inline int64_t ResultOf(const MatrixLaunch& launch, const Tile& tile, int i) {
  const int slot = tile.first + i;
  return launch.heads > 0 ? int64_t{slot} * launch.heads + tile.matrix : slot;
}

// Where the slots of a tile have their activations; beyond the tile the last again, so that what is
// read is a number. A block of 128 threads; a barrier must follow.
template <int kRows>
__device__ inline void ListRows(const MatrixLaunch& launch, const Tile& tile, int (&rows)[kRows]) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows; i += 128) {
    rows[i] = RowOf(launch, tile, min(i, tile.count - 1));
  }
}

// A warp's results for a panel and tiles of 8 slots, as mma.cuh lays them out, with the bias.
template <int kTiles>
__device__ inline void StoreTiles(const MatrixLaunch& launch, const MatrixRun& run,
                                  const Tile& tile, int first_output,
                                  const float (&total)[kTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int output = first_output + lane / 4 + i / 2 * 8;
      const int slot = t * 8 + lane % 4 * 2 + i % 2;
      if (output >= run.out || slot >= tile.count) continue;
      float value = total[t][i];
      if (run.bias != nullptr)
        value += run.bias[static_cast<int64_t>(tile.matrix) * run.out + output];
      run.y[ResultOf(launch, tile, slot) * run.y_stride + output] = value;
    }
  }
}
