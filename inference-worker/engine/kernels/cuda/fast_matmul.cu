// Quantised weights times activations in fp16, for many rows where a row's bits may depend on how
// many come with it (`--numerics fast`). A weight is made an fp16 value once for 64 or 128
// rows, in registers, and sums are fp32: per product 40 to 70 % of the instructions of
// quant_matmul.cu, whose integer sums need scales after every 32 inputs, and nearer to exact, as
// int8 rounds activations coarser.
//
// An activation row is scaled by a power of two so that its largest lies in [2^12, 2^13), a weight
// by kWeightScale: what is far below the row's largest is a subnormal of fp16, and weights beyond
// 255 are not numbers any more.
#include "engine/kernels/cuda/copy_async.cuh"
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/half_pair.cuh"
#include "engine/kernels/cuda/matmul.cuh"
#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/quant_panels.cuh"

namespace {

constexpr float kWeightScale = 256.0f;
constexpr int kTopExponent = 12;

// --- activations --------------------------------------------------------------------------------

// Where input i of a group of 32 lies: a lane of mma.cuh reads the eight inputs 4·word.. and
// 16 + 4·word.. at once, those of even index before those of odd index in each four.
__device__ inline int InputPlace(int i) { return WordPlace(i / 4) * 4 + i % 2 * 2 + i % 4 / 2; }

// Rows of x, or of act(gate) · x where there is an activation, as fp16 without gaps. A block has a
// row.
__global__ void HalveRows(int activation, const float* gate, const float* x, int64_t stride, int n,
                          uint16_t* halves, float* scales) {
  __shared__ float shared[32];
  const int64_t row = blockIdx.x;
  const int step = static_cast<int>(blockDim.x);
  const auto value = [&](int i) {
    const int64_t at = row * stride + i;
    return activation < 0 ? x[at] : Combined(activation, gate, x, at);
  };
  float largest = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += step) {
    largest = fmaxf(largest, fabsf(value(i)));
  }
  largest = BlockMax(largest, shared);
  // 2^exponent ≤ largest < 2^(exponent + 1), kept where both factors are normal numbers.
  const int exponent =
      max(static_cast<int>(__float_as_uint(largest) >> 23) - 127 - kTopExponent, -100);
  const float down = __uint_as_float(static_cast<uint32_t>(127 - exponent) << 23);
  for (int i = static_cast<int>(threadIdx.x); i < n; i += step) {
    halves[row * n + i / 32 * 32 + InputPlace(i % 32)] = ToHalfBits(value(i) * down);
  }
  if (threadIdx.x == 0) {
    scales[row] = __uint_as_float(static_cast<uint32_t>(127 + exponent) << 23) / kWeightScale;
  }
}

// --- weights ------------------------------------------------------------------------------------

// What a half of a group is multiplied by, and what is taken away from it.
struct HalfFactor {
  float factor, min;
};
template <PanelKind kKind>
__device__ inline HalfFactor FactorOf(const typename Scale<kKind>::Values& factors, int half) {
  if constexpr (kHalfMins<kKind>) {
    return half == 0 ? HalfFactor{factors.x, factors.y} : HalfFactor{factors.z, factors.w};
  } else if constexpr (kHalves<kKind>) {
    return {half == 0 ? factors.x : factors.y, 0.0f};
  } else {
    return {factors.x, factors.y};
  }
}

// A group's weights as the fragments of two products of 16 inputs each.
template <PanelKind kKind>
__device__ inline void HalfFragments(const PanelGroup<kKind>& group, uint32_t (&a)[2][4]) {
  uint32_t levels[4];  // signed bytes: rows l / 4 and that + 8, then their inputs 16 and beyond
  group.bits.Fragment(static_cast<int>(threadIdx.x) % 4, levels);
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const auto factors = group.scale[row].Factors();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const HalfFactor of = FactorOf<kKind>(factors, half);
      const uint32_t factor = PairOf(of.factor * kWeightScale);
      // Bytes 0…255 under the exponent of 1024 are halves 1024…1279.
      const uint32_t bytes = levels[2 * half + row] ^ 0x80808080u;
      uint32_t even = PairMinus(__byte_perm(bytes, 0x64646464u, 0x4240u), kPairOf1152);
      uint32_t odd = PairMinus(__byte_perm(bytes, 0x64646464u, 0x4341u), kPairOf1152);
      if constexpr (kHasMin<kKind> || kHalfMins<kKind>) {
        const uint32_t below = PairOf(-of.min * kWeightScale);
        even = PairFma(even, factor, below);
        odd = PairFma(odd, factor, below);
      } else {
        even = PairTimes(even, factor);
        odd = PairTimes(odd, factor);
      }
      a[half][row] = even;
      a[half][2 + row] = odd;
    }
  }
}

// --- products -----------------------------------------------------------------------------------

constexpr int kWarpPanels = 2;
constexpr int kBlockPanels = 4 * kWarpPanels;
constexpr int kStageGroups = 2;  // in shared memory at a time: 128 bytes of a row

// Rows of odd index have their two groups the other way round, so that eight lanes, which read two
// rows, meet every bank once.
__device__ inline int GroupPlace(int row, int g) { return g ^ (row & 1); }

template <int kRows>
__device__ inline void Stage(const MatrixLaunch& launch, const int (&rows)[kRows], int first,
                             uint16_t (&x)[kRows][kStageGroups * 32]) {
  const int count = min(kStageGroups, launch.in / 32 - first);
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kStageGroups * 4; i += 128) {
    const int row = i / (kStageGroups * 4);
    const int g = i / 4 % kStageGroups;
    if (g >= count) continue;
    CopyAsync<16>(&x[row][GroupPlace(row, g) * 32 + i % 4 * 8],
                  launch.halves + int64_t{rows[row]} * launch.in + (first + g) * 32 + i % 4 * 8);
  }
}

// A block: 8 panels (two per warp) and kTiles tiles of 8 activation rows.
template <PanelKind kKind, int kTiles>
__global__ void __launch_bounds__(128) MultiplyFast(MatrixLaunch launch) {
  constexpr int kRows = kTiles * 8;
  __shared__ __align__(16) uint16_t x[2][kRows][kStageGroups * 32];
  __shared__ int rows[kRows];
  const Tile tile = TileAt(launch, static_cast<int>(blockIdx.y));
  if (tile.count <= 0) return;
  const Place place = PlaceOf(launch, static_cast<int>(blockIdx.x), kBlockPanels);
  const MatrixRun& run = launch.runs[place.run];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int groups = launch.in / 32;

  WarpPanels<kKind, kWarpPanels> panels(launch, run, tile, place);
  ListRows(launch, tile, rows);
  __syncthreads();
  Stage(launch, rows, 0, x[0]);
  CommitCopies();

  float sum[kWarpPanels][kTiles][4] = {};
  for (int first = 0; first < groups; first += kStageGroups) {
    const int half = first / kStageGroups % 2;
    if (first + kStageGroups < groups) Stage(launch, rows, first + kStageGroups, x[1 - half]);
    CommitCopies();
    WaitCopies<1>();
    __syncthreads();
    const int count = min(kStageGroups, groups - first);
    for (int g = 0; g < count; ++g) {
      uint32_t a[kWarpPanels][2][4];
#pragma unroll
      for (int p = 0; p < kWarpPanels; ++p) HalfFragments<kKind>(panels.next[p], a[p]);
      panels.Advance(first + g, groups);
      const int at = GroupPlace(lane / 4, g) * 32 + lane % 4 * 8;
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const uint4 b = *reinterpret_cast<const uint4*>(&x[half][t * 8 + lane / 4][at]);
#pragma unroll
        for (int p = 0; p < kWarpPanels; ++p) {
          MmaHalf(sum[p][t], a[p][0], b.x, b.y);
          MmaHalf(sum[p][t], a[p][1], b.z, b.w);
        }
      }
    }
    __syncthreads();  // read by all before it is written again
  }
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const int pair = t * 8 + lane % 4 * 2;
    const float even = launch.half_scales[rows[pair]];
    const float odd = launch.half_scales[rows[pair + 1]];
#pragma unroll
    for (int p = 0; p < kWarpPanels; ++p) {
      for (int i = 0; i < 4; ++i) sum[p][t][i] *= i % 2 == 0 ? even : odd;
    }
  }
#pragma unroll
  for (int p = 0; p < kWarpPanels; ++p) {
    StoreTiles<kTiles>(launch, run, tile, panels.first_output[p], sum[p]);
  }
}

template <PanelKind kKind>
void LaunchFast(ConclaveCudaContext* c, const MatrixLaunch& launch, const TilePlan& plan) {
  const dim3 grid(PanelBlocks(launch, kBlockPanels), TilesOf(plan, plan.width));
  if (plan.width == kFastWidth) {
    return Launch(c, "fast tiles of 128", MultiplyFast<kKind, kFastWidth / 8>, grid, 128, launch);
  }
  Launch(c, "fast tiles", MultiplyFast<kKind, 8>, grid, 128, launch);
}

}  // namespace

void HalveRowsOf(ConclaveCudaContext* c, const float* x, int64_t stride, int64_t rows, int64_t n,
                 uint16_t* halves, float* scales) {
  Launch(c, "rounding to fp16", HalveRows, dim3(static_cast<unsigned>(rows)), 256u, -1,
         static_cast<const float*>(nullptr), x, stride, n, halves, scales);
}

void HalveActivated(ConclaveCudaContext* c, int activation, const float* gate, const float* up,
                    int64_t rows, int64_t n, uint16_t* halves, float* scales) {
  Launch(c, "activation in fp16", HalveRows, dim3(static_cast<unsigned>(rows)), 256u, activation,
         gate, up, n, n, halves, scales);
}

void MultiplyFast(ConclaveCudaContext* c, PanelKind kind, const MatrixLaunch& launch,
                  const TilePlan& plan) {
  WithQuantisedKind(kind,
                    [&](auto constant) { LaunchFast<decltype(constant)::value>(c, launch, plan); });
}
