// Few to some activation rows on the tensor cores: a block's warps have a chunk of the inputs each.
// How a chunk is multiplied is `Products`:
//   Columns    what a lane reads of a tile of 8 activation rows
//   ColumnsOf  (launch, tile, first row of the 8)
//   AddChunk   the sums of a chunk's groups [first, first + count) for panels × tiles, laid out as
//              the results of mma.cuh
#pragma once

#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"

// A block: kPanels panels and kTiles tiles of 8 activation rows. Its warps have a chunk each; what
// they find meets in shared memory and is added up in order.
template <typename Products, int kPanels, int kTiles, int kWarps>
__global__ void __launch_bounds__(kWarps * 32) MultiplyStrands(MatrixLaunch launch) {
  constexpr int kSums = kPanels * kTiles * 128;
  constexpr int kThreads = kWarps * 32;
  constexpr int kTotals = (kSums + kThreads - 1) / kThreads;
  __shared__ float partial[kWarps][kPanels][kTiles][4][32];
  const Tile tile = TileAt(launch, static_cast<int>(blockIdx.y));
  if (tile.count <= 0) return;
  const Place place = PlaceOf(launch, static_cast<int>(blockIdx.x), kPanels);
  const MatrixRun& run = launch.runs[place.run];
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const int lane = thread % 32;
  const int groups = (launch.in + 31) / 32;
  const int chunks = (groups + kChunkGroups - 1) / kChunkGroups;
  const uint8_t* panels[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    // Beyond the matrix the last panel is computed again and not stored.
    const int panel = min(place.panel + p, place.panels - 1);
    panels[p] = run.panels +
                (static_cast<int64_t>(tile.matrix) * place.panels + panel) * launch.panel_bytes;
  }
  typename Products::Columns columns[kTiles];
  for (int t = 0; t < kTiles; ++t) columns[t] = Products::ColumnsOf(launch, tile, t * 8);

  float total[kTotals] = {};
  for (int base = 0; base < chunks; base += kWarps) {
    float sum[kPanels][kTiles][4] = {};
    const int first = (base + warp) * kChunkGroups;
    if (first < groups) {
      Products::template AddChunk<kPanels, kTiles>(launch, panels, columns, first,
                                                   min(kChunkGroups, groups - first), sum);
    }
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) partial[warp][p][t][i][lane] = sum[p][t][i];
      }
    }
    __syncthreads();
    const int strands = min(kWarps, chunks - base);
#pragma unroll
    for (int i = 0; i < kTotals; ++i) {
      const int at = thread + i * kThreads;
      if (at >= kSums) break;
      for (int j = 0; j < strands; ++j) total[i] += (&partial[j][0][0][0][0])[at];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kTotals; ++i) {
    const int at = thread + i * kThreads;
    const int of_lane = at % 32;
    const int of_tile = at / 32 % 4;
    const int output = (place.panel + at / (128 * kTiles)) * 16 + of_lane / 4 + of_tile / 2 * 8;
    const int slot = at / 128 % kTiles * 8 + of_lane % 4 * 2 + of_tile % 2;
    if (at >= kSums || output >= run.out || slot >= tile.count) continue;
    float value = total[i];
    if (run.bias != nullptr)
      value += run.bias[static_cast<int64_t>(tile.matrix) * run.out + output];
    run.y[ResultOf(launch, tile, slot) * run.y_stride + output] = value;
  }
}

template <typename Products, int kTiles>
void LaunchStrands(ConclaveCudaContext* c, const char* name, const MatrixLaunch& launch,
                   unsigned tiles) {
  // Two panels share what is read of the activations, where the device is full all the same.
  const unsigned blocks = PanelBlocks(launch, 2);
  if (blocks * tiles >= 4u * static_cast<unsigned>(c->multiprocessors)) {
    constexpr int kWarps = kTiles > 4 ? 4 : 8;
    return Launch(c, name, MultiplyStrands<Products, 2, kTiles, kWarps>, dim3(blocks, tiles),
                  kWarps * 32, launch);
  }
  Launch(c, name, MultiplyStrands<Products, 1, kTiles, 8>, dim3(PanelBlocks(launch, 1), tiles),
         8 * 32, launch);
}

// Whether so many blocks of the kernels for many rows, 128 outputs wide, leave a fifth of the
// device idle: fewer take as long as more; strands, a fifth slower on a full device, then take
// less.
inline bool LeavesIdle(const ConclaveCudaContext* c, unsigned blocks) {
  return blocks * 5 < 4u * static_cast<unsigned>(c->multiprocessors);
}
