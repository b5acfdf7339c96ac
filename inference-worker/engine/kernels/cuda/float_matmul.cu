// Weights in F32, F16 and BF16 times fp32 activations, in fp32 on the vector units whatever the
// number of rows: nothing is rounded, so a router decides as it does on a CPU. Tensor cores would
// round the activations; they are a later matter.
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"

using conclave::engine::PanelKind;

namespace {

// Inputs in 16 bytes of a row.
template <PanelKind kKind>
constexpr int kStep = kKind == PanelKind::kF32 ? 4 : 8;

template <PanelKind kKind>
__device__ inline void Unpack(uint4 bits, float (&w)[kStep<kKind>]) {
  const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
  for (int j = 0; j < 4; ++j) {
    if constexpr (kKind == PanelKind::kF32) {
      w[j] = __uint_as_float(words[j]);
    } else {
      const uint16_t first = static_cast<uint16_t>(words[j]);
      const uint16_t second = static_cast<uint16_t>(words[j] >> 16);
      w[2 * j] = kKind == PanelKind::kF16 ? HalfBits(first) : Bf16Bits(first);
      w[2 * j + 1] = kKind == PanelKind::kF16 ? HalfBits(second) : Bf16Bits(second);
    }
  }
}

// As MultiplyVectors in quant_matmul.cu.
template <PanelKind kKind, int kCols>
__global__ void MultiplyFloatVectors(MatrixLaunch launch, bool aligned) {
  constexpr int kWide = kStep<kKind>;
  __shared__ float partial[16][kCols][16];
  const Tile tile = TileAt(launch, static_cast<int>(blockIdx.y));
  if (tile.count <= 0) return;
  const Place place = PlaceOf(launch, static_cast<int>(blockIdx.x), 1);
  const MatrixRun& run = launch.runs[place.run];
  const uint8_t* const panel =
      run.panels +
      (static_cast<int64_t>(tile.matrix) * place.panels + place.panel) * launch.panel_bytes;

  const int thread = static_cast<int>(threadIdx.x);
  const int r = thread % 16;
  const int strand = thread / 16;
  const int strands = static_cast<int>(blockDim.x) / 16;
  const int in = launch.in;
  const int chunks = (in + kChunk - 1) / kChunk;
  const float* x[kCols];
  for (int c = 0; c < kCols; ++c) {
    x[c] = launch.x + RowOf(launch, tile, min(c, tile.count - 1)) * launch.x_stride;
  }

  float total = 0.0f;
  for (int base = 0; base < chunks; base += strands) {
    float sum[kCols];
    for (int c = 0; c < kCols; ++c) sum[c] = 0.0f;
    const int begin = (base + strand) * kChunk;
    const int end = min(begin + kChunk, in);
#pragma unroll 4
    for (int k = begin; k < end; k += kWide) {
      const uint4 bits = __ldg(reinterpret_cast<const uint4*>(panel + k / kWide * 256 + r * 16));
      float w[kWide];
      Unpack<kKind>(bits, w);
      for (int c = 0; c < kCols; ++c) {
        if (aligned) {
          for (int i = 0; i < kWide; i += 4) {
            const float4 v = __ldg(reinterpret_cast<const float4*>(x[c] + k + i));
            sum[c] = fmaf(w[i], v.x, sum[c]);
            sum[c] = fmaf(w[i + 1], v.y, sum[c]);
            sum[c] = fmaf(w[i + 2], v.z, sum[c]);
            sum[c] = fmaf(w[i + 3], v.w, sum[c]);
          }
        } else {
          for (int i = 0; i < kWide && k + i < in; ++i) sum[c] = fmaf(w[i], x[c][k + i], sum[c]);
        }
      }
    }
    for (int c = 0; c < kCols; ++c) partial[strand][c][r] = sum[c];
    __syncthreads();
    if (strand < kCols) {
      for (int j = 0; j < strands && base + j < chunks; ++j) total += partial[j][strand][r];
    }
    __syncthreads();
  }
  const int output = place.panel * 16 + r;
  if (strand < tile.count && output < run.out) {
    if (run.bias != nullptr)
      total += run.bias[static_cast<int64_t>(tile.matrix) * run.out + output];
    run.y[ResultOf(launch, tile, strand) * run.y_stride + output] = total;
  }
}

template <PanelKind kKind, int kCols>
void LaunchVectors(ConclaveCudaContext* c, const MatrixLaunch& launch, unsigned tiles) {
  const int chunks = (launch.in + kChunk - 1) / kChunk;
  unsigned warps = kCols > 2 ? kCols / 2 : 1;
  while (warps < 8 && static_cast<int>(warps) * 2 < chunks) warps *= 2;
  const bool aligned = launch.in % kStep<kKind> == 0 && launch.x_stride % 4 == 0 &&
                       reinterpret_cast<uintptr_t>(launch.x) % 16 == 0;
  Launch(c, "float vectors", MultiplyFloatVectors<kKind, kCols>,
         dim3(PanelBlocks(launch, 1), tiles), warps * 32, launch, aligned);
}

template <PanelKind kKind>
void LaunchKind(ConclaveCudaContext* c, const MatrixLaunch& launch, const TilePlan& plan) {
  // A tile of many rows is walked in eights: the plan of a list must be one for vectors.
  MatrixLaunch eights = launch;
  eights.width = launch.tiles == nullptr && launch.width > 8 ? 8 : launch.width;
  const unsigned tiles = TilesOf(plan, eights.width);
  switch (eights.width) {
    case 1:
      return LaunchVectors<kKind, 1>(c, eights, tiles);
    case 2:
      return LaunchVectors<kKind, 2>(c, eights, tiles);
    case 4:
      return LaunchVectors<kKind, 4>(c, eights, tiles);
    default:
      return LaunchVectors<kKind, 8>(c, eights, tiles);
  }
}

}  // namespace

void MultiplyFloats(ConclaveCudaContext* c, PanelKind kind, const MatrixLaunch& launch,
                    const TilePlan& plan) {
  switch (kind) {
    case PanelKind::kF32:
      return LaunchKind<PanelKind::kF32>(c, launch, plan);
    case PanelKind::kF16:
      return LaunchKind<PanelKind::kF16>(c, launch, plan);
    case PanelKind::kBF16:
      return LaunchKind<PanelKind::kBF16>(c, launch, plan);
    default:
      return Fail(c, "float matrices", "not of a float kind");
  }
}
