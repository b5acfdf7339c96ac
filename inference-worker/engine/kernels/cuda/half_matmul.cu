// Weights in F16 and BF16 times fp32 activations, on the tensor cores. The weights are tf32 as they
// are; an activation is the sum of two tf32 values to about 22 bits, each multiplied on its own.
// All row counts take the same products in the same order: chunks of 256 inputs, in each of them
// groups of 32, whose inputs meet in the order of their lanes.
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"
#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/strands.cuh"

using conclave::engine::PanelKind;

namespace {

// Two of the 16-bit values of a panel as fp32 bits.
template <PanelKind kKind>
__device__ inline void Widen(uint32_t pair, uint32_t& first, uint32_t& second) {
  if constexpr (kKind == PanelKind::kBF16) {
    first = pair << 16;
    second = pair & 0xffff0000u;
  } else {
    first = __float_as_uint(HalfBits(static_cast<uint16_t>(pair)));
    second = __float_as_uint(HalfBits(static_cast<uint16_t>(pair >> 16)));
  }
}

// What a lane brings of a group of 32 inputs: inputs 8·(lane % 4).. of output rows lane / 4 and
// that
// + 8 of a panel. Step s of four multiplies inputs 2s and 2s + 1 of every lane.
template <PanelKind kKind>
struct HalfGroup {
  uint4 bits[2];

  __device__ void Load(const uint8_t* panel, int in, int g) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int eight = g * 4 + lane % 4;
    const auto* const at =
        reinterpret_cast<const uint4*>(panel + int64_t{eight} * 256 + lane / 4 * 16);
    const bool inside = eight * 8 < in;
    bits[0] = inside ? __ldg(at) : make_uint4(0, 0, 0, 0);
    bits[1] = inside ? __ldg(at + 8) : make_uint4(0, 0, 0, 0);
  }
  // The fragments of the four steps.
  __device__ void Fragments(uint32_t (&a)[4][4]) const {
    const uint32_t low[4] = {bits[0].x, bits[0].y, bits[0].z, bits[0].w};
    const uint32_t high[4] = {bits[1].x, bits[1].y, bits[1].z, bits[1].w};
    for (int s = 0; s < 4; ++s) {
      Widen<kKind>(low[s], a[s][0], a[s][2]);
      Widen<kKind>(high[s], a[s][1], a[s][3]);
    }
  }
};

// x = big + small, both tf32, to about 22 bits.
__device__ inline uint32_t ToTf32(float x) { return (__float_as_uint(x) + 0x1000u) & 0xffffe000u; }
__device__ inline void Split(float x, uint32_t& big, uint32_t& small) {
  big = ToTf32(x);
  small = ToTf32(x - __uint_as_float(big));
}

__device__ inline void AddGroup(const uint32_t (&a)[4][4], const uint32_t (&big)[8],
                                const uint32_t (&small)[8], float (&sum)[4]) {
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    MmaTf32(sum, a[s], small[2 * s], small[2 * s + 1]);
    MmaTf32(sum, a[s], big[2 * s], big[2 * s + 1]);
  }
}

// Inputs k.. of a row, zeros beyond the last.
__device__ inline float4 LoadFour(const MatrixLaunch& launch, const float* x, int k) {
  if (launch.aligned != 0 && k + 4 <= launch.in) {
    return __ldg(reinterpret_cast<const float4*>(x + k));
  }
  float v[4];
  for (int i = 0; i < 4; ++i) v[i] = k + i < launch.in ? __ldg(x + k + i) : 0.0f;
  return {v[0], v[1], v[2], v[3]};
}

// What strands.cuh asks for.
template <PanelKind kKind>
struct HalfProducts {
  using Columns = const float*;
  __device__ static const float* ColumnsOf(const MatrixLaunch& launch, const Tile& tile,
                                           int first) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return launch.x + RowOf(launch, tile, min(first + lane / 4, tile.count - 1)) * launch.x_stride;
  }
  template <int kPanels, int kTiles>
  __device__ static void AddChunk(const MatrixLaunch& launch,
                                  const uint8_t* const (&panels)[kPanels],
                                  const float* const (&columns)[kTiles], int first, int count,
                                  float (&sum)[kPanels][kTiles][4]) {
    const int word = static_cast<int>(threadIdx.x) % 4;
#pragma unroll(kTiles > 2 ? 1 : 4)
    for (int g = first; g < first + count; ++g) {
      HalfGroup<kKind> group[kPanels];
#pragma unroll
      for (int p = 0; p < kPanels; ++p) group[p].Load(panels[p], launch.in, g);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const int k = g * 32 + word * 8;
        const float4 low = LoadFour(launch, columns[t], k);
        const float4 high = LoadFour(launch, columns[t], k + 4);
        const float v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        uint32_t big[8], small[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) Split(v[i], big[i], small[i]);
#pragma unroll
        for (int p = 0; p < kPanels; ++p) {
          uint32_t a[4][4];
          group[p].Fragments(a);
          AddGroup(a, big, small, sum[p][t]);
        }
      }
    }
  }
};

constexpr int kWarpPanels = 2;
constexpr int kBlockPanels = 4 * kWarpPanels;
constexpr int kPitch = 36;  // words of a row of 32 inputs; rows begin 4 banks apart

// A block: 8 panels (two per warp) and kTiles tiles of 8 activation rows, whose inputs are split
// once, a group ahead of the products.
template <PanelKind kKind, int kTiles>
__global__ void __launch_bounds__(128) MultiplyHalfTiles(MatrixLaunch launch) {
  constexpr int kRows = kTiles * 8;
  constexpr int kFours = kRows * 8 / 128;  // of a group, for each thread
  __shared__ __align__(16) uint32_t big[2][kRows][kPitch];
  __shared__ __align__(16) uint32_t small[2][kRows][kPitch];
  const Tile tile = TileAt(launch, static_cast<int>(blockIdx.y));
  if (tile.count <= 0) return;
  const Place place = PlaceOf(launch, static_cast<int>(blockIdx.x), kBlockPanels);
  const MatrixRun& run = launch.runs[place.run];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int r = lane / 4;
  const int word = lane % 4;
  const int groups = (launch.in + 31) / 32;

  const uint8_t* panels[kWarpPanels];
  int first_output[kWarpPanels];
  for (int p = 0; p < kWarpPanels; ++p) {
    const int panel = place.panel + thread / 32 * kWarpPanels + p;
    first_output[p] = panel * 16;
    // Beyond the matrix the last panel is computed again and not stored.
    panels[p] = run.panels +
                (static_cast<int64_t>(tile.matrix) * place.panels + min(panel, place.panels - 1)) *
                    launch.panel_bytes;
  }
  // Four inputs, from thread % 8 · 4, of rows thread / 8 and every sixteenth after it.
  const float* rows[kFours];
  for (int i = 0; i < kFours; ++i) {
    rows[i] =
        launch.x + RowOf(launch, tile, min(thread / 8 + i * 16, tile.count - 1)) * launch.x_stride;
  }
  float4 x[kFours];
  const auto load = [&](int g) {
    for (int i = 0; i < kFours; ++i) x[i] = LoadFour(launch, rows[i], g * 32 + thread % 8 * 4);
  };
  const auto store = [&](int half) {
    for (int i = 0; i < kFours; ++i) {
      uint4 b, s;
      Split(x[i].x, b.x, s.x);
      Split(x[i].y, b.y, s.y);
      Split(x[i].z, b.z, s.z);
      Split(x[i].w, b.w, s.w);
      *reinterpret_cast<uint4*>(&big[half][thread / 8 + i * 16][thread % 8 * 4]) = b;
      *reinterpret_cast<uint4*>(&small[half][thread / 8 + i * 16][thread % 8 * 4]) = s;
    }
  };

  float total[kWarpPanels][kTiles][4] = {};
  float sum[kWarpPanels][kTiles][4] = {};
  HalfGroup<kKind> next[kWarpPanels];
  load(0);
  for (int p = 0; p < kWarpPanels; ++p) next[p].Load(panels[p], launch.in, 0);
  store(0);
  __syncthreads();
  for (int g = 0; g < groups; ++g) {
    const int half = g % 2;
    uint32_t a[kWarpPanels][4][4];
    for (int p = 0; p < kWarpPanels; ++p) next[p].Fragments(a[p]);
    if (g + 1 < groups) {
      load(g + 1);
      for (int p = 0; p < kWarpPanels; ++p) next[p].Load(panels[p], launch.in, g + 1);
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      uint32_t b[8], s[8];
      const auto* const bigs = reinterpret_cast<const uint4*>(&big[half][t * 8 + r][word * 8]);
      const auto* const smalls = reinterpret_cast<const uint4*>(&small[half][t * 8 + r][word * 8]);
      *reinterpret_cast<uint4*>(b) = bigs[0];
      *reinterpret_cast<uint4*>(b + 4) = bigs[1];
      *reinterpret_cast<uint4*>(s) = smalls[0];
      *reinterpret_cast<uint4*>(s + 4) = smalls[1];
#pragma unroll
      for (int p = 0; p < kWarpPanels; ++p) AddGroup(a[p], b, s, sum[p][t]);
    }
    if (g % kChunkGroups == kChunkGroups - 1 || g + 1 == groups) {
      for (int p = 0; p < kWarpPanels; ++p) {
        for (int t = 0; t < kTiles; ++t) {
          for (int i = 0; i < 4; ++i) {
            total[p][t][i] += sum[p][t][i];
            sum[p][t][i] = 0.0f;
          }
        }
      }
    }
    // The other half was read before the last barrier.
    if (g + 1 < groups) store(1 - half);
    __syncthreads();
  }
#pragma unroll
  for (int p = 0; p < kWarpPanels; ++p) {
    StoreTiles<kTiles>(launch, run, tile, first_output[p], total[p]);
  }
}

template <PanelKind kKind, int kTiles>
void LaunchMany(ConclaveCudaContext* c, const MatrixLaunch& launch, unsigned tiles) {
  const unsigned blocks = PanelBlocks(launch, kBlockPanels);
  if (LeavesIdle(c, blocks * tiles)) {
    return LaunchStrands<HalfProducts<kKind>, kTiles>(c, "half strands", launch, tiles);
  }
  Launch(c, "half tiles", MultiplyHalfTiles<kKind, kTiles>, dim3(blocks, tiles), 128, launch);
}

// By reckoning from the quantised kernels of the same shape.
template <PanelKind kKind>
void LaunchKind(ConclaveCudaContext* c, const MatrixLaunch& launch, const TilePlan& plan) {
  const unsigned tiles = TilesOf(plan, plan.width);
  switch (plan.width) {
    case 1:
    case 2:
    case 4:
    case 8:
      return LaunchStrands<HalfProducts<kKind>, 1>(c, "half strands", launch, tiles);
    case 16:
      return LaunchStrands<HalfProducts<kKind>, 2>(c, "half strands", launch, tiles);
    case 32:
      return LaunchMany<kKind, 4>(c, launch, tiles);
    default:
      return LaunchMany<kKind, 8>(c, launch, tiles);
  }
}

}  // namespace

void MultiplyHalves(ConclaveCudaContext* c, PanelKind kind, const MatrixLaunch& launch,
                    const TilePlan& plan) {
  switch (kind) {
    case PanelKind::kF16:
      return LaunchKind<PanelKind::kF16>(c, launch, plan);
    case PanelKind::kBF16:
      return LaunchKind<PanelKind::kBF16>(c, launch, plan);
    default:
      return Fail(c, "half matrices", "not of 16 bits");
  }
}
