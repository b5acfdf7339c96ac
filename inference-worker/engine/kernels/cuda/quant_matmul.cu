// Quantised weights times int8 activations (quant/int8_rows.h), straight from the packed blocks.
// A group's product of integers is exact however it is made — four bytes at a time on the vector
// units for up to eight rows, 16×8 tiles on the tensor cores for more — and what follows is the
// same chain of fp32 operations, so all kernels agree to the bit.
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"
#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/quant_panels.cuh"
#include "engine/kernels/cuda/strands.cuh"

namespace {

// --- few rows: a thread has one output row of a chunk -------------------------------------------

constexpr uint32_t kOnes = 0x01010101u;
// Of 16 signed bytes.
__device__ inline int SumOf(const int4& bytes) {
  constexpr auto kEach = static_cast<int>(kOnes);
  const int half = __dp4a(bytes.x, kEach, __dp4a(bytes.y, kEach, 0));
  return __dp4a(bytes.z, kEach, __dp4a(bytes.w, kEach, half));
}

template <PanelKind kKind, int kCols>
__device__ inline void AddGroup(const MatrixLaunch& launch, const GroupRow<kKind>& bits,
                                const Scale<kKind>& scale, int g, const int (&row)[kCols],
                                float (&sum)[kCols]) {
  uint32_t w[8];
  bits.Unpack(w);
  const auto factors = scale.Factors();
  const int groups = launch.in / 32;
  for (int c = 0; c < kCols; ++c) {
    const int64_t at = static_cast<int64_t>(row[c]) * groups + g;
    const int4* a = reinterpret_cast<const int4*>(launch.q + at * 32);
    const int4 a0 = __ldg(a);
    const int4 a1 = __ldg(a + 1);
    const float2 meta = __ldg(launch.meta + at);
    int low = GroupRow<kKind>::Offset(meta);
    low = __dp4a(static_cast<int>(w[0]), a0.x, low);
    low = __dp4a(static_cast<int>(w[1]), a0.y, low);
    low = __dp4a(static_cast<int>(w[2]), a0.z, low);
    low = __dp4a(static_cast<int>(w[3]), a0.w, low);
    int high = __dp4a(static_cast<int>(w[4]), a1.x, 0);
    high = __dp4a(static_cast<int>(w[5]), a1.y, high);
    high = __dp4a(static_cast<int>(w[6]), a1.z, high);
    high = __dp4a(static_cast<int>(w[7]), a1.w, high);
    // Both below 2^24: the sum of their fp32 forms is exact.
    GroupProducts p = {static_cast<float>(low), static_cast<float>(high), 0.0f, 0.0f};
    if constexpr (kHalfMins<kKind>) {
      p.low_negative = static_cast<float>(-SumOf(a0));
      p.high_negative = static_cast<float>(-SumOf(a1));
    }
    sum[c] = Scale<kKind>::Next(factors, p, meta, sum[c]);
  }
}

// A block: one panel of 16 outputs, up to kCols activation rows, two chunks per warp at a time.
template <PanelKind kKind, int kCols>
__global__ void MultiplyVectors(MatrixLaunch launch) {
  __shared__ float partial[16][kCols][16];
  const Tile tile = TileAt(launch, static_cast<int>(blockIdx.y));
  if (tile.count <= 0) return;
  const Place place = PlaceOf(launch, static_cast<int>(blockIdx.x), 1);
  const MatrixRun& run = launch.runs[place.run];
  const uint8_t* const panel =
      run.panels +
      (static_cast<int64_t>(tile.matrix) * place.panels + place.panel) * launch.panel_bytes;
  const uint8_t* const scales = panel + launch.quant_bytes;

  const int thread = static_cast<int>(threadIdx.x);
  const int r = thread % 16;
  const int strand = thread / 16;  // which chunk of a round
  const int strands = static_cast<int>(blockDim.x) / 16;
  const int groups = launch.in / 32;
  const int chunks = (groups + kChunkGroups - 1) / kChunkGroups;
  int row[kCols];
  for (int c = 0; c < kCols; ++c) row[c] = RowOf(launch, tile, min(c, tile.count - 1));

  float total = 0.0f;  // of column thread / 16, output thread % 16
  for (int base = 0; base < chunks; base += strands) {
    float sum[kCols];
    for (int c = 0; c < kCols; ++c) sum[c] = 0.0f;
    const int first = (base + strand) * kChunkGroups;
    if (first + kChunkGroups <= groups) {
      GroupRow<kKind> bits[kChunkGroups];
      Scale<kKind> scale[kChunkGroups];
#pragma unroll
      for (int i = 0; i < kChunkGroups; ++i) bits[i].Load(panel, first + i, r);
#pragma unroll
      for (int i = 0; i < kChunkGroups; ++i) scale[i].Load(scales, first + i, r);
#pragma unroll
      for (int i = 0; i < kChunkGroups; ++i) {
        AddGroup<kKind, kCols>(launch, bits[i], scale[i], first + i, row, sum);
      }
    } else {
      for (int g = first; g < groups; ++g) {
        GroupRow<kKind> bits;
        Scale<kKind> scale;
        bits.Load(panel, g, r);
        scale.Load(scales, g, r);
        AddGroup<kKind, kCols>(launch, bits, scale, g, row, sum);
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

// --- more rows: tensor cores --------------------------------------------------------------------

// Sums start at this many, whose bits are those of a float 1.5·2^23: read as a float, a sum s below
// 2^22 is 12582912 + s, exactly. Cheaper than converting.
constexpr int kMagic = 0x4b400000;
__device__ inline float FromMagic(int sum) { return __int_as_float(sum) - 12582912.0f; }

// The group's products of 16 outputs and 8 rows: halves apart where they have scales of their own,
// together else. Sums of the rows are their products with ones.
template <PanelKind kKind>
__device__ inline void Products(const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                GroupProducts (&p)[4]) {
  int c[4] = {kMagic, kMagic, kMagic, kMagic};
  if (kHalves<kKind>) {
    int d[4] = {kMagic, kMagic, kMagic, kMagic};
    MmaK16(c, a[0], a[1], b0);
    MmaK16(d, a[2], a[3], b1);
    for (int i = 0; i < 4; ++i) p[i].high = FromMagic(d[i]);
  } else {
    MmaK32(c, a, b0, b1);
    for (int i = 0; i < 4; ++i) p[i].high = 0.0f;
  }
  for (int i = 0; i < 4; ++i) p[i].low = FromMagic(c[i]);
  if constexpr (kHalfMins<kKind>) {
    int e[4] = {kMagic, kMagic, kMagic, kMagic};
    int f[4] = {kMagic, kMagic, kMagic, kMagic};
    MmaK16(e, kOnes, kOnes, b0);
    MmaK16(f, kOnes, kOnes, b1);
    for (int i = 0; i < 4; ++i) {
      p[i].low_negative = -FromMagic(e[i]);
      p[i].high_negative = -FromMagic(f[i]);
    }
  }
}

// A group's products with 8 activation rows onto their sums; `even` and `odd` are the meta of the
// lane's two rows.
template <PanelKind kKind>
__device__ inline void AddTile(const uint32_t (&a)[4],
                               const typename Scale<kKind>::Values (&factors)[2], uint32_t b0,
                               uint32_t b1, float2 even, float2 odd, float (&s)[4]) {
  GroupProducts p[4];
  Products<kKind>(a, b0, b1, p);
  s[0] = Scale<kKind>::Next(factors[0], p[0], even, s[0]);
  s[1] = Scale<kKind>::Next(factors[0], p[1], odd, s[1]);
  s[2] = Scale<kKind>::Next(factors[1], p[2], even, s[2]);
  s[3] = Scale<kKind>::Next(factors[1], p[3], odd, s[3]);
}

// The activation rows that a lane reads for a tile of 8: inputs of row l / 4, meta of the two rows
// whose results it has.
struct LaneColumns {
  const int8_t* q;
  const float2* even;
  const float2* odd;
};
__device__ inline LaneColumns ColumnsOf(const MatrixLaunch& launch, const Tile& tile, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t groups = launch.in / 32;
  const int pair = first + lane % 4 * 2;
  const int last = tile.count - 1;  // beyond it rows are computed again and not stored
  return {launch.q + RowOf(launch, tile, min(first + lane / 4, last)) * groups * 32 + lane % 4 * 4,
          launch.meta + RowOf(launch, tile, min(pair, last)) * groups,
          launch.meta + RowOf(launch, tile, min(pair + 1, last)) * groups};
}

// The sums of one chunk for a warp's panels and tiles.
template <PanelKind kKind, int kPanels, int kTiles>
__device__ inline void AddChunk(const MatrixLaunch& launch, const uint8_t* const (&panels)[kPanels],
                                const LaneColumns (&columns)[kTiles], int first, int count,
                                float (&sum)[kPanels][kTiles][4]) {
#pragma unroll(kTiles > 4 ? 1 : kTiles > 1 ? 2 : 4)
  for (int g = first; g < first + count; ++g) {
    uint32_t a[kPanels][4];
    typename Scale<kKind>::Values factors[kPanels][2];
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      PanelGroup<kKind> group;
      group.Load(panels[p], launch.quant_bytes, g);
      group.bits.Fragment(static_cast<int>(threadIdx.x) % 4, a[p]);
      factors[p][0] = group.scale[0].Factors();
      factors[p][1] = group.scale[1].Factors();
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const auto* const inputs = reinterpret_cast<const uint32_t*>(columns[t].q + g * 32);
      const uint32_t b0 = __ldg(inputs);
      const uint32_t b1 = __ldg(inputs + 4);
      const float2 even = __ldg(columns[t].even + g);
      const float2 odd = __ldg(columns[t].odd + g);
#pragma unroll
      for (int p = 0; p < kPanels; ++p) {
        AddTile<kKind>(a[p], factors[p], b0, b1, even, odd, sum[p][t]);
      }
    }
  }
}

// What strands.cuh asks for.
template <PanelKind kKind>
struct QuantProducts {
  using Columns = LaneColumns;
  __device__ static LaneColumns ColumnsOf(const MatrixLaunch& launch, const Tile& tile, int first) {
    return ::ColumnsOf(launch, tile, first);
  }
  template <int kPanels, int kTiles>
  __device__ static void AddChunk(const MatrixLaunch& launch,
                                  const uint8_t* const (&panels)[kPanels],
                                  const LaneColumns (&columns)[kTiles], int first, int count,
                                  float (&sum)[kPanels][kTiles][4]) {
    ::AddChunk<kKind, kPanels, kTiles>(launch, panels, columns, first, count, sum);
  }
};

constexpr int kWarpPanels = 2;
constexpr int kBlockPanels = 4 * kWarpPanels;
constexpr int kRowPitch = kChunk + 16;  // bytes; rows begin 4 banks apart

// A block: 8 panels (two per warp) and kTiles tiles of 8 activation rows.
template <PanelKind kKind, int kTiles>
__global__ void __launch_bounds__(128) MultiplyTiles(MatrixLaunch launch) {
  constexpr int kRows = kTiles * 8;
  __shared__ __align__(16) int8_t q[kRows][kRowPitch];
  __shared__ __align__(16) float2 meta[kChunkGroups][kRows];
  __shared__ int rows[kRows];
  const Tile tile = TileAt(launch, static_cast<int>(blockIdx.y));
  if (tile.count <= 0) return;
  const Place place = PlaceOf(launch, static_cast<int>(blockIdx.x), kBlockPanels);
  const MatrixRun& run = launch.runs[place.run];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int r = lane / 4;
  const int word = lane % 4;
  const int groups = launch.in / 32;
  const int chunks = (groups + kChunkGroups - 1) / kChunkGroups;

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
  for (int t = thread; t < kRows; t += 128) {
    rows[t] = RowOf(launch, tile, min(t, tile.count - 1));
  }

  float total[kWarpPanels][kTiles][4];
  for (int p = 0; p < kWarpPanels; ++p) {
    for (int t = 0; t < kTiles; ++t) {
      for (int i = 0; i < 4; ++i) total[p][t][i] = 0.0f;
    }
  }
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int first = chunk * kChunkGroups;
    const int count = min(kChunkGroups, groups - first);
    __syncthreads();
    for (int i = thread; i < kRows * 16; i += 128) {
      const int t = i / 16;
      const int piece = i % 16;
      uint4 bytes = make_uint4(0, 0, 0, 0);
      if (t < tile.count && piece < count * 2) {
        const int64_t at = (static_cast<int64_t>(rows[t]) * groups + first) * 32 + piece * 16;
        bytes = __ldg(reinterpret_cast<const uint4*>(launch.q + at));
      }
      *reinterpret_cast<uint4*>(&q[t][piece * 16]) = bytes;
    }
    for (int i = thread; i < kChunkGroups * kRows; i += 128) {
      const int g = i / kRows;
      const int t = i % kRows;
      meta[g][t] = g < count && t < tile.count
                       ? __ldg(launch.meta + static_cast<int64_t>(rows[t]) * groups + first + g)
                       : make_float2(0.0f, 0.0f);
    }
    __syncthreads();

    float sum[kWarpPanels][kTiles][4];
    for (int p = 0; p < kWarpPanels; ++p) {
      for (int t = 0; t < kTiles; ++t) {
        for (int i = 0; i < 4; ++i) sum[p][t][i] = 0.0f;
      }
    }
    PanelGroup<kKind> next[kWarpPanels];
    for (int p = 0; p < kWarpPanels; ++p) next[p].Load(panels[p], launch.quant_bytes, first);
    for (int g = 0; g < count; ++g) {
      uint32_t a[kWarpPanels][4];
      typename Scale<kKind>::Values factors[kWarpPanels][2];
      for (int p = 0; p < kWarpPanels; ++p) {
        next[p].bits.Fragment(word, a[p]);
        factors[p][0] = next[p].scale[0].Factors();
        factors[p][1] = next[p].scale[1].Factors();
      }
      if (g + 1 < count) {
        for (int p = 0; p < kWarpPanels; ++p) {
          next[p].Load(panels[p], launch.quant_bytes, first + g + 1);
        }
      }
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const int8_t* const column = &q[t * 8 + r][g * 32 + word * 4];
        const uint32_t b0 = *reinterpret_cast<const uint32_t*>(column);
        const uint32_t b1 = *reinterpret_cast<const uint32_t*>(column + 16);
        const float4 pair = *reinterpret_cast<const float4*>(&meta[g][t * 8 + word * 2]);
#pragma unroll
        for (int p = 0; p < kWarpPanels; ++p) {
          AddTile<kKind>(a[p], factors[p], b0, b1, make_float2(pair.x, pair.y),
                         make_float2(pair.z, pair.w), sum[p][t]);
        }
      }
    }
    for (int p = 0; p < kWarpPanels; ++p) {
      for (int t = 0; t < kTiles; ++t) {
        for (int i = 0; i < 4; ++i) total[p][t][i] += sum[p][t][i];
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kWarpPanels; ++p) {
    StoreTiles<kTiles>(launch, run, tile, first_output[p], total[p]);
  }
}

// --- launches -----------------------------------------------------------------------------------

template <PanelKind kKind, int kCols>
void LaunchVectors(ConclaveCudaContext* c, const MatrixLaunch& launch, unsigned tiles) {
  // Two chunks per warp and round; enough warps to add up kCols columns.
  const int chunks = (launch.in / 32 + kChunkGroups - 1) / kChunkGroups;
  unsigned warps = kCols > 2 ? kCols / 2 : 1;
  while (warps < 8 && static_cast<int>(warps) * 2 < chunks) warps *= 2;
  Launch(c, "quantised vectors", MultiplyVectors<kKind, kCols>, dim3(PanelBlocks(launch, 1), tiles),
         warps * 32, launch);
}

// Tiles read each activation once for eight panels, the fastest way on a full device.
template <PanelKind kKind, int kTiles>
void LaunchMany(ConclaveCudaContext* c, const MatrixLaunch& launch, unsigned tiles) {
  const unsigned blocks = PanelBlocks(launch, kBlockPanels);
  if (LeavesIdle(c, blocks * tiles)) {
    return LaunchStrands<QuantProducts<kKind>, kTiles>(c, "quantised strands", launch, tiles);
  }
  Launch(c, "quantised tiles", MultiplyTiles<kKind, kTiles>, dim3(blocks, tiles), 128, launch);
}

// Which kernel, by what an H100 took for each (docs/speed.md).
template <PanelKind kKind>
void LaunchKind(ConclaveCudaContext* c, const MatrixLaunch& launch, const TilePlan& plan) {
  const unsigned tiles = TilesOf(plan, plan.width);
  switch (plan.width) {
    case 1:
      return LaunchVectors<kKind, 1>(c, launch, tiles);
    case 2:
      return LaunchVectors<kKind, 2>(c, launch, tiles);
    case 4:
      return LaunchVectors<kKind, 4>(c, launch, tiles);
    case 8:
      return LaunchVectors<kKind, 8>(c, launch, tiles);
    case 16:
      return LaunchStrands<QuantProducts<kKind>, 2>(c, "quantised strands", launch, tiles);
    case 32:
      return plan.many
                 ? LaunchMany<kKind, 4>(c, launch, tiles)
                 : LaunchStrands<QuantProducts<kKind>, 4>(c, "quantised strands", launch, tiles);
    default:
      return LaunchMany<kKind, 8>(c, launch, tiles);
  }
}

}  // namespace

void MultiplyQuantised(ConclaveCudaContext* c, PanelKind kind, const MatrixLaunch& launch,
                       const TilePlan& plan) {
  switch (kind) {
    case PanelKind::kU8:
      return LaunchKind<PanelKind::kU8>(c, launch, plan);
    case PanelKind::kU4:
      return LaunchKind<PanelKind::kU4>(c, launch, plan);
    case PanelKind::kU5:
      return LaunchKind<PanelKind::kU5>(c, launch, plan);
    case PanelKind::kU4HalfMin:
      return LaunchKind<PanelKind::kU4HalfMin>(c, launch, plan);
    case PanelKind::kU5HalfMin:
      return LaunchKind<PanelKind::kU5HalfMin>(c, launch, plan);
    case PanelKind::kU4Min:
      return LaunchKind<PanelKind::kU4Min>(c, launch, plan);
    case PanelKind::kU5Min:
      return LaunchKind<PanelKind::kU5Min>(c, launch, plan);
    case PanelKind::kU2Min:
      return LaunchKind<PanelKind::kU2Min>(c, launch, plan);
    case PanelKind::kU3:
      return LaunchKind<PanelKind::kU3>(c, launch, plan);
    case PanelKind::kU6:
      return LaunchKind<PanelKind::kU6>(c, launch, plan);
    case PanelKind::kNl4:
      return LaunchKind<PanelKind::kNl4>(c, launch, plan);
    case PanelKind::kNl4Super:
      return LaunchKind<PanelKind::kNl4Super>(c, launch, plan);
    case PanelKind::kFp4:
      return LaunchKind<PanelKind::kFp4>(c, launch, plan);
    default:
      return Fail(c, "quantised matrices", "not of a quantised kind");
  }
}
