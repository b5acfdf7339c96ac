// Quantised weights times int8 activations (quant/int8_rows.h), straight from the packed blocks.
// A group's product of integers is exact however it is made — four bytes at a time on the vector
// units for few rows, 16×8 tiles on the tensor cores for many — and what follows is the same chain
// of fp32 operations, so the two agree to the bit.
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"
#include "engine/kernels/cuda/mma.cuh"

using conclave::engine::PanelKind;

namespace {

constexpr uint32_t kNibbles = 0x0f0f0f0fu;
constexpr uint32_t kPairs = 0x03030303u;

// Bytes of 0…127 less `offset` each, as signed bytes.
__device__ inline uint32_t Less(uint32_t bytes, uint32_t offset) {
  return ((bytes | 0x80808080u) - offset) ^ 0x80808080u;
}

// --- scales of one output row and group: as the file has them, and as factors -------------------

template <PanelKind kKind>
struct Scale {  // kU8, kU4: y = d · u
  uint16_t d;

  __device__ void Load(const uint8_t* plane, int g, int r) {
    d = __ldg(reinterpret_cast<const uint16_t*>(plane + (g * 16 + r) * 2));
  }
  // The next element of the chain of a sum: `low` and `high` are the products of the group's
  // halves, `meta` the activations' scale and negative sum.
  __device__ float2 Factors() const { return make_float2(HalfBits(d), 0.0f); }
  __device__ static float Next(float2 factors, float low, float high, float2 meta, float sum) {
    return fmaf(__fmul_rn(low + high, factors.x), meta.x, sum);
  }
};

template <>
struct Scale<PanelKind::kU4Min> {  // y = d·sc·u − dmin·m
  uint16_t d, dmin;
  uint8_t sc, m;

  __device__ void Load(const uint8_t* plane, int g, int r) {
    const uint8_t* super = plane + g / 8 * 320;
    const uint8_t* group = super + 64 + g % 8 * 32;
    d = __ldg(reinterpret_cast<const uint16_t*>(super + r * 2));
    dmin = __ldg(reinterpret_cast<const uint16_t*>(super + 32 + r * 2));
    sc = __ldg(group + r);
    m = __ldg(group + 16 + r);
  }
  __device__ float2 Factors() const {
    return make_float2(__fmul_rn(HalfBits(d), static_cast<float>(sc)),
                       __fmul_rn(HalfBits(dmin), static_cast<float>(m)));
  }
  __device__ static float Next(float2 factors, float low, float high, float2 meta, float sum) {
    return fmaf(fmaf(meta.y, factors.y, __fmul_rn(low + high, factors.x)), meta.x, sum);
  }
};

template <>
struct Scale<PanelKind::kU6> {  // y = d·sc·u, one sc per half of the group
  uint16_t d;
  int8_t low_sc, high_sc;

  __device__ void Load(const uint8_t* plane, int g, int r) {
    const uint8_t* super = plane + g / 8 * 288;
    const uint8_t* group = super + 32 + g % 8 * 32;
    d = __ldg(reinterpret_cast<const uint16_t*>(super + r * 2));
    low_sc = static_cast<int8_t>(__ldg(group + r));
    high_sc = static_cast<int8_t>(__ldg(group + 16 + r));
  }
  __device__ float2 Factors() const {
    const float f = HalfBits(d);
    return make_float2(__fmul_rn(f, static_cast<float>(low_sc)),
                       __fmul_rn(f, static_cast<float>(high_sc)));
  }
  __device__ static float Next(float2 factors, float low, float high, float2 meta, float sum) {
    return fmaf(fmaf(high, factors.y, __fmul_rn(low, factors.x)), meta.x, sum);
  }
};

// --- few rows: a thread has one output row of a chunk -------------------------------------------

template <PanelKind kKind>
struct GroupRow {  // kU4, kU4Min
  uint4 quants;

  __device__ void Load(const uint8_t* plane, int g, int r) {
    quants = __ldg(reinterpret_cast<const uint4*>(plane + g * 256 + r * 16));
  }
  // Inputs 4j.. in word j.
  __device__ void Unpack(uint32_t (&w)[8]) const {
    const uint32_t words[4] = {quants.x, quants.y, quants.z, quants.w};
    for (int j = 0; j < 4; ++j) {
      w[j] = words[j] & kNibbles;
      w[4 + j] = (words[j] >> 4) & kNibbles;
    }
  }
  // What Σu·q lacks of Σ(u − offset)·q.
  __device__ static int Offset(float2 meta) {
    return kKind == PanelKind::kU4 ? 8 * static_cast<int>(meta.y) : 0;
  }
};

template <>
struct GroupRow<PanelKind::kU8> {
  uint4 low, high;

  __device__ void Load(const uint8_t* plane, int g, int r) {
    low = __ldg(reinterpret_cast<const uint4*>(plane + g * 512 + r * 16));
    high = __ldg(reinterpret_cast<const uint4*>(plane + g * 512 + 256 + r * 16));
  }
  __device__ void Unpack(uint32_t (&w)[8]) const {
    w[0] = low.x, w[1] = low.y, w[2] = low.z, w[3] = low.w;
    w[4] = high.x, w[5] = high.y, w[6] = high.z, w[7] = high.w;
  }
  __device__ static int Offset(float2) { return 0; }
};

template <>
struct GroupRow<PanelKind::kU6> {
  uint4 quants;
  uint2 pairs;

  __device__ void Load(const uint8_t* plane, int g, int r) {
    quants = __ldg(reinterpret_cast<const uint4*>(plane + g * 384 + r * 16));
    pairs = __ldg(reinterpret_cast<const uint2*>(plane + g * 384 + 256 + r * 8));
  }
  __device__ void Unpack(uint32_t (&w)[8]) const {
    const uint32_t words[4] = {quants.x, quants.y, quants.z, quants.w};
    for (int j = 0; j < 4; ++j) {
      const uint32_t low = (words[j] & kNibbles) | ((pairs.x >> (2 * j)) & kPairs) << 4;
      const uint32_t high = ((words[j] >> 4) & kNibbles) | ((pairs.y >> (2 * j)) & kPairs) << 4;
      w[j] = Less(low, 0x20202020u);
      w[4 + j] = Less(high, 0x20202020u);
    }
  }
  __device__ static int Offset(float2) { return 0; }
};

template <PanelKind kKind, int kCols>
__device__ inline void AddGroup(const MatrixLaunch& launch, const GroupRow<kKind>& bits,
                                const Scale<kKind>& scale, int g, const int (&row)[kCols],
                                float (&sum)[kCols]) {
  uint32_t w[8];
  bits.Unpack(w);
  const float2 factors = scale.Factors();
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
    sum[c] = Scale<kKind>::Next(factors, static_cast<float>(low), static_cast<float>(high), meta,
                                sum[c]);
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

// --- many rows: tensor cores --------------------------------------------------------------------

// A lane's words of a panel's rows l / 4 and l / 4 + 8.
template <PanelKind kKind>
struct GroupTile {  // kU4, kU4Min
  uint32_t words[2];

  __device__ void Load(const uint8_t* plane, int g, int r, int word) {
    for (int i = 0; i < 2; ++i) {
      words[i] =
          __ldg(reinterpret_cast<const uint32_t*>(plane + g * 256 + (r + 8 * i) * 16 + word * 4));
    }
  }
  __device__ void Fragment(int, uint32_t (&a)[4]) const {
    for (int i = 0; i < 2; ++i) {
      a[i] = words[i] & kNibbles;
      a[2 + i] = (words[i] >> 4) & kNibbles;
    }
    if (kKind == PanelKind::kU4) {
      for (int i = 0; i < 4; ++i) a[i] = Less(a[i], 0x08080808u);
    }
  }
};

template <>
struct GroupTile<PanelKind::kU8> {
  uint32_t words[4];

  __device__ void Load(const uint8_t* plane, int g, int r, int word) {
    for (int i = 0; i < 4; ++i) {
      words[i] = __ldg(reinterpret_cast<const uint32_t*>(plane + g * 512 + i / 2 * 256 +
                                                         (r + i % 2 * 8) * 16 + word * 4));
    }
  }
  __device__ void Fragment(int, uint32_t (&a)[4]) const {
    for (int i = 0; i < 4; ++i) a[i] = words[i];
  }
};

template <>
struct GroupTile<PanelKind::kU6> {
  uint32_t words[2];
  uint2 pairs[2];

  __device__ void Load(const uint8_t* plane, int g, int r, int word) {
    for (int i = 0; i < 2; ++i) {
      const uint8_t* group = plane + g * 384;
      words[i] = __ldg(reinterpret_cast<const uint32_t*>(group + (r + 8 * i) * 16 + word * 4));
      pairs[i] = __ldg(reinterpret_cast<const uint2*>(group + 256 + (r + 8 * i) * 8));
    }
  }
  __device__ void Fragment(int word, uint32_t (&a)[4]) const {
    for (int i = 0; i < 2; ++i) {
      const uint32_t low = (words[i] & kNibbles) | ((pairs[i].x >> (2 * word)) & kPairs) << 4;
      const uint32_t high = ((words[i] >> 4) & kNibbles) | ((pairs[i].y >> (2 * word)) & kPairs)
                                                               << 4;
      a[i] = Less(low, 0x20202020u);
      a[2 + i] = Less(high, 0x20202020u);
    }
  }
};

// Sums start at this many, whose bits are those of a float 1.5·2^23: read as a float, a sum s below
// 2^22 is 12582912 + s, exactly. Cheaper than converting.
constexpr int kMagic = 0x4b400000;
__device__ inline float FromMagic(int sum) { return __int_as_float(sum) - 12582912.0f; }

// The group's products of 16 outputs and 8 rows: halves apart for kU6, together else.
template <PanelKind kKind>
__device__ inline void Products(const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (&low)[4],
                                float (&high)[4]) {
  int c[4] = {kMagic, kMagic, kMagic, kMagic};
  if (kKind == PanelKind::kU6) {
    int d[4] = {kMagic, kMagic, kMagic, kMagic};
    MmaK16(c, a[0], a[1], b0);
    MmaK16(d, a[2], a[3], b1);
    for (int i = 0; i < 4; ++i) high[i] = FromMagic(d[i]);
  } else {
    MmaK32(c, a, b0, b1);
    for (int i = 0; i < 4; ++i) high[i] = 0.0f;
  }
  for (int i = 0; i < 4; ++i) low[i] = FromMagic(c[i]);
}

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
    GroupTile<kKind> next_bits[kWarpPanels];
    Scale<kKind> next_scale[kWarpPanels][2];
    for (int p = 0; p < kWarpPanels; ++p) {
      next_bits[p].Load(panels[p], first, r, word);
      next_scale[p][0].Load(panels[p] + launch.quant_bytes, first, r);
      next_scale[p][1].Load(panels[p] + launch.quant_bytes, first, r + 8);
    }
    for (int g = 0; g < count; ++g) {
      uint32_t a[kWarpPanels][4];
      float2 factors[kWarpPanels][2];
      for (int p = 0; p < kWarpPanels; ++p) {
        next_bits[p].Fragment(word, a[p]);
        factors[p][0] = next_scale[p][0].Factors();
        factors[p][1] = next_scale[p][1].Factors();
      }
      if (g + 1 < count) {
        for (int p = 0; p < kWarpPanels; ++p) {
          next_bits[p].Load(panels[p], first + g + 1, r, word);
          next_scale[p][0].Load(panels[p] + launch.quant_bytes, first + g + 1, r);
          next_scale[p][1].Load(panels[p] + launch.quant_bytes, first + g + 1, r + 8);
        }
      }
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const int8_t* const column = &q[t * 8 + r][g * 32 + word * 4];
        const uint32_t b0 = *reinterpret_cast<const uint32_t*>(column);
        const uint32_t b1 = *reinterpret_cast<const uint32_t*>(column + 16);
        const float4 pair = *reinterpret_cast<const float4*>(&meta[g][t * 8 + word * 2]);
        const float2 even = make_float2(pair.x, pair.y);
        const float2 odd = make_float2(pair.z, pair.w);
#pragma unroll
        for (int p = 0; p < kWarpPanels; ++p) {
          float low[4], high[4];
          Products<kKind>(a[p], b0, b1, low, high);
          float(&s)[4] = sum[p][t];
          s[0] = Scale<kKind>::Next(factors[p][0], low[0], high[0], even, s[0]);
          s[1] = Scale<kKind>::Next(factors[p][0], low[1], high[1], odd, s[1]);
          s[2] = Scale<kKind>::Next(factors[p][1], low[2], high[2], even, s[2]);
          s[3] = Scale<kKind>::Next(factors[p][1], low[3], high[3], odd, s[3]);
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
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int output = first_output[p] + r + i / 2 * 8;
        const int slot = t * 8 + word * 2 + i % 2;
        if (output >= run.out || slot >= tile.count) continue;
        float value = total[p][t][i];
        if (run.bias != nullptr)
          value += run.bias[static_cast<int64_t>(tile.matrix) * run.out + output];
        run.y[ResultOf(launch, tile, slot) * run.y_stride + output] = value;
      }
    }
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

template <PanelKind kKind>
void LaunchKind(ConclaveCudaContext* c, const MatrixLaunch& launch, const TilePlan& plan) {
  const unsigned tiles = TilesOf(plan, plan.width);
  if (plan.many) {
    const dim3 grid(PanelBlocks(launch, kBlockPanels), tiles);
    if (plan.width == 64) {
      Launch(c, "quantised tiles", MultiplyTiles<kKind, 8>, grid, 128, launch);
    } else {
      Launch(c, "quantised tiles", MultiplyTiles<kKind, 4>, grid, 128, launch);
    }
    return;
  }
  switch (plan.width) {
    case 1:
      return LaunchVectors<kKind, 1>(c, launch, tiles);
    case 2:
      return LaunchVectors<kKind, 2>(c, launch, tiles);
    case 4:
      return LaunchVectors<kKind, 4>(c, launch, tiles);
    default:
      return LaunchVectors<kKind, 8>(c, launch, tiles);
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
    case PanelKind::kU4Min:
      return LaunchKind<PanelKind::kU4Min>(c, launch, plan);
    case PanelKind::kU6:
      return LaunchKind<PanelKind::kU6>(c, launch, plan);
    default:
      return Fail(c, "quantised matrices", "not of a quantised kind");
  }
}
