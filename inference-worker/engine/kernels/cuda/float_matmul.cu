// Weights in F32 times fp32 activations, in fp32 on the vector units whatever the number of rows:
// nothing is rounded, so a router decides as it does on a CPU.
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"

namespace {

constexpr int kWide = 4;  // inputs in 16 bytes of a row

// As MultiplyVectors in quant_matmul.cu.
template <int kCols>
__global__ void MultiplyFloatVectors(MatrixLaunch launch) {
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
      const float4 w = __ldg(reinterpret_cast<const float4*>(panel + k / kWide * 256 + r * 16));
      for (int c = 0; c < kCols; ++c) {
        if (launch.aligned != 0 && k + kWide <= in) {
          const float4 v = __ldg(reinterpret_cast<const float4*>(x[c] + k));
          sum[c] = fmaf(w.x, v.x, sum[c]);
          sum[c] = fmaf(w.y, v.y, sum[c]);
          sum[c] = fmaf(w.z, v.z, sum[c]);
          sum[c] = fmaf(w.w, v.w, sum[c]);
        } else {
          const float weights[kWide] = {w.x, w.y, w.z, w.w};
          for (int i = 0; i < kWide && k + i < in; ++i) {
            sum[c] = fmaf(weights[i], x[c][k + i], sum[c]);
          }
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

template <int kCols>
void LaunchVectors(ConclaveCudaContext* c, const MatrixLaunch& launch, unsigned tiles) {
  const int chunks = (launch.in + kChunk - 1) / kChunk;
  unsigned warps = kCols > 2 ? kCols / 2 : 1;
  while (warps < 8 && static_cast<int>(warps) * 2 < chunks) warps *= 2;
  Launch(c, "float vectors", MultiplyFloatVectors<kCols>, dim3(PanelBlocks(launch, 1), tiles),
         warps * 32, launch);
}

}  // namespace

void MultiplyFloats(ConclaveCudaContext* c, const MatrixLaunch& launch, const TilePlan& plan) {
  // A tile of many rows is walked in eights: the plan of a list must be one for vectors.
  MatrixLaunch eights = launch;
  eights.width = launch.tiles == nullptr && launch.width > 8 ? 8 : launch.width;
  const unsigned tiles = TilesOf(plan, eights.width);
  switch (eights.width) {
    case 1:
      return LaunchVectors<1>(c, eights, tiles);
    case 2:
      return LaunchVectors<2>(c, eights, tiles);
    case 4:
      return LaunchVectors<4>(c, eights, tiles);
    default:
      return LaunchVectors<8>(c, eights, tiles);
  }
}
