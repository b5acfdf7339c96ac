// Quantised weights times int8 activations (quant/int8_rows.h), straight from the packed blocks.
// A group's product of integers is exact however it is made — four bytes at a time on the vector
// units for up to eight rows, 16×8 tiles on the tensor cores for more — and what follows is the
// same chain of fp32 operations, so all kernels agree to the bit.
#include "engine/kernels/cuda/copy_async.cuh"
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"
#include "engine/kernels/cuda/mma.cuh"
#include "engine/kernels/cuda/quant_panels.cuh"
#include "engine/kernels/cuda/strands.cuh"

namespace {

// --- few rows: a thread has one output row of a chunk -------------------------------------------

constexpr uint32_t kOnes = 0x01010101u;
// Of the signed bytes of a half group.
__device__ inline float SumOf(int a, int b, int c, int d) {
  constexpr auto kEach = static_cast<int>(kOnes);
  return static_cast<float>(
      __dp4a(d, kEach, __dp4a(c, kEach, __dp4a(b, kEach, __dp4a(a, kEach, 0)))));
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
    // Words w and w + 4 are neighbours (WordPlace).
    int low = GroupRow<kKind>::Offset(meta);
    low = __dp4a(static_cast<int>(w[0]), a0.x, low);
    low = __dp4a(static_cast<int>(w[1]), a0.z, low);
    low = __dp4a(static_cast<int>(w[2]), a1.x, low);
    low = __dp4a(static_cast<int>(w[3]), a1.z, low);
    int high = __dp4a(static_cast<int>(w[4]), a0.y, 0);
    high = __dp4a(static_cast<int>(w[5]), a0.w, high);
    high = __dp4a(static_cast<int>(w[6]), a1.y, high);
    high = __dp4a(static_cast<int>(w[7]), a1.w, high);
    // Below 2^24: exact in fp32.
    if constexpr (kHalfMins<kKind>) {
      const float low_sum = SumOf(a0.x, a0.z, a1.x, a1.z);
      const float high_sum = SumOf(a0.y, a0.w, a1.y, a1.w);
      sum[c] = Scale<kKind>::Next(factors, static_cast<float>(low), static_cast<float>(high),
                                  low_sum, high_sum, meta, sum[c]);
    } else if constexpr (kHalves<kKind>) {
      sum[c] = Scale<kKind>::Next(factors, static_cast<float>(low), static_cast<float>(high), meta,
                                  sum[c]);
    } else {
      sum[c] = Scale<kKind>::Next(factors, static_cast<float>(low + high), meta, sum[c]);
    }
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
    const PanelChunk chunk = ChunkAt<kKind>(panel, launch.quant_bytes, base + strand);
    if (first + kChunkGroups <= groups) {
      GroupRow<kKind> bits[kChunkGroups];
      Scale<kKind> scale[kChunkGroups];
#pragma unroll
      for (int i = 0; i < kChunkGroups; ++i) bits[i].Load(chunk.levels, i, r);
#pragma unroll
      for (int i = 0; i < kChunkGroups; ++i) scale[i].Load(chunk.scales, i, r);
#pragma unroll
      for (int i = 0; i < kChunkGroups; ++i) {
        AddGroup<kKind, kCols>(launch, bits[i], scale[i], first + i, row, sum);
      }
    } else {
      for (int g = first; g < groups; ++g) {
        GroupRow<kKind> bits;
        Scale<kKind> scale;
        bits.Load(chunk.levels, g - first, r);
        scale.Load(chunk.scales, g - first, r);
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

// A group's products of 16 outputs and 8 activation rows onto their sums; `even` and `odd` are the
// meta of the lane's two rows. Sums of the rows are their products with ones.
template <PanelKind kKind>
__device__ inline void AddTile(const uint32_t (&a)[4],
                               const typename Scale<kKind>::Values (&factors)[2], uint32_t b0,
                               uint32_t b1, float2 even, float2 odd, float (&s)[4]) {
  int c[4] = {kMagic, kMagic, kMagic, kMagic};
  if constexpr (kHalves<kKind>) {
    int d[4] = {kMagic, kMagic, kMagic, kMagic};
    MmaK16(c, a[0], a[1], b0);
    MmaK16(d, a[2], a[3], b1);
    if constexpr (kHalfMins<kKind>) {
      int e[4] = {kMagic, kMagic, kMagic, kMagic};
      int f[4] = {kMagic, kMagic, kMagic, kMagic};
      MmaK16(e, kOnes, kOnes, b0);
      MmaK16(f, kOnes, kOnes, b1);
      for (int i = 0; i < 4; ++i) {
        s[i] = Scale<kKind>::Next(factors[i / 2], FromMagic(c[i]), FromMagic(d[i]), FromMagic(e[i]),
                                  FromMagic(f[i]), i % 2 == 0 ? even : odd, s[i]);
      }
    } else {
      for (int i = 0; i < 4; ++i) {
        s[i] = Scale<kKind>::Next(factors[i / 2], FromMagic(c[i]), FromMagic(d[i]),
                                  i % 2 == 0 ? even : odd, s[i]);
      }
    }
  } else {
    MmaK32(c, a, b0, b1);
    for (int i = 0; i < 4; ++i) {
      s[i] = Scale<kKind>::Next(factors[i / 2], FromMagic(c[i]), i % 2 == 0 ? even : odd, s[i]);
    }
  }
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
  return {launch.q + RowOf(launch, tile, min(first + lane / 4, last)) * groups * 32 + lane % 4 * 8,
          launch.meta + RowOf(launch, tile, min(pair, last)) * groups,
          launch.meta + RowOf(launch, tile, min(pair + 1, last)) * groups};
}

// The sums of one chunk for a warp's panels and tiles.
template <PanelKind kKind, int kPanels, int kTiles>
__device__ inline void AddChunk(const MatrixLaunch& launch, const uint8_t* const (&panels)[kPanels],
                                const LaneColumns (&columns)[kTiles], int first, int count,
                                float (&sum)[kPanels][kTiles][4]) {
  PanelChunk chunks[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    chunks[p] = ChunkAt<kKind>(panels[p], launch.quant_bytes, first / kChunkGroups);
  }
#pragma unroll(kTiles > 4 ? 1 : kTiles > 1 ? 2 : 4)
  for (int i = 0; i < count; ++i) {
    const int g = first + i;
    uint32_t a[kPanels][4];
    typename Scale<kKind>::Values factors[kPanels][2];
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      PanelGroup<kKind> group;
      group.Load(chunks[p], i);
      group.bits.Fragment(static_cast<int>(threadIdx.x) % 4, a[p]);
      factors[p][0] = group.scale[0].Factors();
      factors[p][1] = group.scale[1].Factors();
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const uint2 b = __ldg(reinterpret_cast<const uint2*>(columns[t].q + g * 32));
      const float2 even = __ldg(columns[t].even + g);
      const float2 odd = __ldg(columns[t].odd + g);
#pragma unroll
      for (int p = 0; p < kPanels; ++p) {
        AddTile<kKind>(a[p], factors[p], b.x, b.y, even, odd, sum[p][t]);
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
constexpr int kRowPitch = kChunk + 32;  // bytes; rows begin 8 banks apart

// Copies a chunk of the tile's activations to shared memory. Rows beyond the tile are its last
// again, so that what is read is a number; they are not stored.
template <int kRows>
__device__ inline void StageChunk(const MatrixLaunch& launch, const int (&rows)[kRows], int first,
                                  int count, int8_t (&q)[kRows][kRowPitch],
                                  float2 (&meta)[kChunkGroups][kRows]) {
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t groups = launch.in / 32;
  for (int i = thread; i < kRows * 16; i += 128) {
    const int piece = i % 16;
    if (piece >= count * 2) continue;
    const int64_t at = (rows[i / 16] * groups + first) * 32 + piece * 16;
    CopyAsync<16>(&q[i / 16][piece * 16], launch.q + at);
  }
  for (int i = thread; i < kRows * count; i += 128) {
    CopyAsync<8>(&meta[i / kRows][i % kRows],
                 launch.meta + rows[i % kRows] * groups + first + i / kRows);
  }
}

// A block: 8 panels (two per warp) and kTiles tiles of 8 activation rows.
template <PanelKind kKind, int kTiles>
__global__ void __launch_bounds__(128) MultiplyTiles(MatrixLaunch launch) {
  constexpr int kRows = kTiles * 8;
  __shared__ __align__(16) int8_t q[2][kRows][kRowPitch];
  __shared__ __align__(16) float2 meta[2][kChunkGroups][kRows];
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

  WarpPanels<kKind, kWarpPanels> panels(launch, run, tile, place);
  ListRows(launch, tile, rows);
  __syncthreads();
  StageChunk(launch, rows, 0, min(kChunkGroups, groups), q[0], meta[0]);
  CommitCopies();

  float total[kWarpPanels][kTiles][4] = {};
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int half = chunk % 2;
    const int after = (chunk + 1) * kChunkGroups;
    const int count = min(kChunkGroups, groups - chunk * kChunkGroups);
    if (after < groups) {
      StageChunk(launch, rows, after, min(kChunkGroups, groups - after), q[1 - half],
                 meta[1 - half]);
    }
    CommitCopies();
    WaitCopies<1>();
    __syncthreads();

    float sum[kWarpPanels][kTiles][4] = {};
    for (int g = 0; g < count; ++g) {
      uint32_t a[kWarpPanels][4];
      typename Scale<kKind>::Values factors[kWarpPanels][2];
      for (int p = 0; p < kWarpPanels; ++p) {
        panels.next[p].bits.Fragment(word, a[p]);
        factors[p][0] = panels.next[p].scale[0].Factors();
        factors[p][1] = panels.next[p].scale[1].Factors();
      }
      panels.Advance(chunk * kChunkGroups + g, groups);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const uint2 b = *reinterpret_cast<const uint2*>(&q[half][t * 8 + r][g * 32 + word * 8]);
        const float4 pair = *reinterpret_cast<const float4*>(&meta[half][g][t * 8 + word * 2]);
#pragma unroll
        for (int p = 0; p < kWarpPanels; ++p) {
          AddTile<kKind>(a[p], factors[p], b.x, b.y, make_float2(pair.x, pair.y),
                         make_float2(pair.z, pair.w), sum[p][t]);
        }
      }
    }
    __syncthreads();  // read by all before it is written again
    for (int p = 0; p < kWarpPanels; ++p) {
      for (int t = 0; t < kTiles; ++t) {
        for (int i = 0; i < 4; ++i) total[p][t][i] += sum[p][t][i];
      }
    }
  }
#pragma unroll
  for (int p = 0; p < kWarpPanels; ++p) {
    StoreTiles<kTiles>(launch, run, tile, panels.first_output[p], total[p]);
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
  WithQuantisedKind(kind,
                    [&](auto constant) { LaunchKind<decltype(constant)::value>(c, launch, plan); });
}
