// Weights of the quantised panels (panels.h) in registers: scales as the file has them and as
// factors, levels as signed bytes for the vector units and as fragments for the tensor cores.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"
#include "engine/quant/panel.h"

using conclave::engine::PanelKind;

// --- scales of one output row and group: as the file has them, and as factors -------------------

__device__ inline uint16_t LoadHalf(const uint8_t* at) {
  return __ldg(reinterpret_cast<const uint16_t*>(at));
}

// A sum's next element: `product` is the group's, `low` and `high` those of its halves, `meta` the
// activations' scale and negative sum, `low_sum` and `high_sum` their sums over the halves.
struct OneFactor {
  using Values = float2;
  __device__ static float Next(float2 factors, float product, float2 meta, float sum) {
    return fmaf(__fmul_rn(product, factors.x), meta.x, sum);
  }
};
struct FactorAndMin {
  using Values = float2;
  __device__ static float Next(float2 factors, float product, float2 meta, float sum) {
    return fmaf(fmaf(meta.y, factors.y, __fmul_rn(product, factors.x)), meta.x, sum);
  }
};
struct FactorPerHalf {
  using Values = float2;
  __device__ static float Next(float2 factors, float low, float high, float2 meta, float sum) {
    return fmaf(fmaf(high, factors.y, __fmul_rn(low, factors.x)), meta.x, sum);
  }
};

struct FactorAndMinPerHalf {
  using Values = float4;  // of the low half, its minimum, of the high half, its minimum
  __device__ static float Next(float4 factors, float low, float high, float low_sum, float high_sum,
                               float2 meta, float sum) {
    float value = fmaf(-low_sum, factors.y, __fmul_rn(low, factors.x));
    value = fmaf(high, factors.z, value);
    return fmaf(fmaf(-high_sum, factors.w, value), meta.x, sum);
  }
};

// Of output row r of a panel, in the g-th group of a chunk whose scales begin at `chunk`,
// kChunkBytes from one chunk to the next.
template <PanelKind kKind>
struct Scale : OneFactor {  // kU8, kU4, kU5, kNl4: y = d · u
  static constexpr int kChunkBytes = 8 * 32;
  uint16_t d;

  __device__ void Load(const uint8_t* chunk, int g, int r) { d = LoadHalf(chunk + g * 32 + r * 2); }
  __device__ float2 Factors() const { return make_float2(HalfBits(d), 0.0f); }
};

struct HalfMinScale : FactorAndMin {  // y = d · u − m
  static constexpr int kChunkBytes = 8 * 64;
  uint16_t d, m;

  __device__ void Load(const uint8_t* chunk, int g, int r) {
    d = LoadHalf(chunk + g * 64 + r * 2);
    m = LoadHalf(chunk + g * 64 + 32 + r * 2);
  }
  __device__ float2 Factors() const { return make_float2(HalfBits(d), HalfBits(m)); }
};
template <>
struct Scale<PanelKind::kU4HalfMin> : HalfMinScale {};
template <>
struct Scale<PanelKind::kU5HalfMin> : HalfMinScale {};

struct SuperMinScale : FactorAndMin {  // y = d·sc·u − dmin·m
  static constexpr int kChunkBytes = 64 + 8 * 32;
  uint16_t d, dmin;
  uint8_t sc, m;

  __device__ void Load(const uint8_t* chunk, int g, int r) {
    d = LoadHalf(chunk + r * 2);
    dmin = LoadHalf(chunk + 32 + r * 2);
    sc = __ldg(chunk + 64 + g * 32 + r);
    m = __ldg(chunk + 64 + g * 32 + 16 + r);
  }
  __device__ float2 Factors() const {
    return make_float2(__fmul_rn(HalfBits(d), static_cast<float>(sc)),
                       __fmul_rn(HalfBits(dmin), static_cast<float>(m)));
  }
};
template <>
struct Scale<PanelKind::kU4Min> : SuperMinScale {};
template <>
struct Scale<PanelKind::kU5Min> : SuperMinScale {};

struct SuperHalvesScale : FactorPerHalf {  // y = d·sc·u, one sc per half of the group
  static constexpr int kChunkBytes = 32 + 8 * 32;
  uint16_t d;
  int8_t low_sc, high_sc;

  __device__ void Load(const uint8_t* chunk, int g, int r) {
    d = LoadHalf(chunk + r * 2);
    low_sc = static_cast<int8_t>(__ldg(chunk + 32 + g * 32 + r));
    high_sc = static_cast<int8_t>(__ldg(chunk + 32 + g * 32 + 16 + r));
  }
  __device__ float2 Factors() const {
    const float f = HalfBits(d);
    return make_float2(__fmul_rn(f, static_cast<float>(low_sc)),
                       __fmul_rn(f, static_cast<float>(high_sc)));
  }
};
template <>
struct Scale<PanelKind::kU3> : SuperHalvesScale {};
template <>
struct Scale<PanelKind::kU6> : SuperHalvesScale {};

template <>
struct Scale<PanelKind::kU2Min> : FactorAndMinPerHalf {  // y = d·sc·u − dmin·m, both per half
  static constexpr int kChunkBytes = 64 + 8 * 32;
  uint16_t d, dmin;
  uint8_t low, high;  // sc | m << 4

  __device__ void Load(const uint8_t* chunk, int g, int r) {
    d = LoadHalf(chunk + r * 2);
    dmin = LoadHalf(chunk + 32 + r * 2);
    low = __ldg(chunk + 64 + g * 32 + r);
    high = __ldg(chunk + 64 + g * 32 + 16 + r);
  }
  __device__ float4 Factors() const {
    const float f = HalfBits(d);
    const float min = HalfBits(dmin);
    return make_float4(
        __fmul_rn(f, static_cast<float>(low & 15)), __fmul_rn(min, static_cast<float>(low >> 4)),
        __fmul_rn(f, static_cast<float>(high & 15)), __fmul_rn(min, static_cast<float>(high >> 4)));
  }
};

template <>
struct Scale<PanelKind::kNl4Super> : OneFactor {  // y = d·sc·u
  static constexpr int kChunkBytes = 32 + 8 * 16;
  uint16_t d;
  int8_t sc;

  __device__ void Load(const uint8_t* chunk, int g, int r) {
    d = LoadHalf(chunk + r * 2);
    sc = static_cast<int8_t>(__ldg(chunk + 32 + g * 16 + r));
  }
  __device__ float2 Factors() const {
    return make_float2(__fmul_rn(HalfBits(d), static_cast<float>(sc)), 0.0f);
  }
};

template <>
struct Scale<PanelKind::kFp4> : OneFactor {  // y = 2^(e − 128) · u
  static constexpr int kChunkBytes = 8 * 16;
  uint8_t e;

  __device__ void Load(const uint8_t* chunk, int g, int r) { e = __ldg(chunk + g * 16 + r); }
  __device__ float2 Factors() const { return make_float2(HalfOfE8m0Bits(e), 0.0f); }
};

// --- levels: words of a row, and what they stand for
// ----------------------------------------------

// Whether the two halves of a group have minima of their own, and whether they have scales.
template <PanelKind kKind>
constexpr bool kHalfMins = kKind == PanelKind::kU2Min;
// Whether a group has one minimum, factors.y of the scale.
template <PanelKind kKind>
constexpr bool kHasMin = kKind == PanelKind::kU4HalfMin || kKind == PanelKind::kU5HalfMin ||
                         kKind == PanelKind::kU4Min || kKind == PanelKind::kU5Min;
template <PanelKind kKind>
constexpr bool kHalves = kKind == PanelKind::kU3 || kKind == PanelKind::kU6 || kHalfMins<kKind>;
template <PanelKind kKind>
constexpr bool kHasPairs =
    kKind == PanelKind::kU2Min || kKind == PanelKind::kU3 || kKind == PanelKind::kU6;
template <PanelKind kKind>
constexpr bool kHasNibbles =
    kKind != PanelKind::kU8 && kKind != PanelKind::kU2Min && kKind != PanelKind::kU3;
template <PanelKind kKind>
constexpr bool kHasBits = kKind == PanelKind::kU3 || kKind == PanelKind::kU5 ||
                          kKind == PanelKind::kU5HalfMin || kKind == PanelKind::kU5Min;
// What unsigned levels have too much.
template <PanelKind kKind>
constexpr uint32_t kOffset = kKind == PanelKind::kU4   ? 8
                             : kKind == PanelKind::kU5 ? 16
                             : kKind == PanelKind::kU6 ? 32
                             : kKind == PanelKind::kU3 ? 4
                                                       : 0;
// Bytes of a group: nibbles, then pairs, then bits.
template <PanelKind kKind>
constexpr int kPairsAt = kHasNibbles<kKind> ? 256 : 0;
template <PanelKind kKind>
constexpr int kBitsAt = kPairsAt<kKind> + (kHasPairs<kKind> ? 128 : 0);
template <PanelKind kKind>
constexpr int kGroupBytes =
    kKind == PanelKind::kU8 ? 512 : kBitsAt<kKind> + (kHasBits<kKind> ? 64 : 0);

// Bytes of 0…127 less `offset` each, as signed bytes.
__device__ inline uint32_t Less(uint32_t bytes, uint32_t offset) {
  return ((bytes | 0x80808080u) - offset) ^ 0x80808080u;
}

// kNl4Values and kFp4Values of engine/quant/panel.h, four to a word.
template <PanelKind kKind>
__device__ inline uint4 ValueTable() {
  if (kKind == PanelKind::kFp4)
    return make_uint4(0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);
  return make_uint4(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
}
// The values of four nibbles, lowest first.
__device__ inline uint32_t FourValues(const uint4& table, uint32_t nibbles) {
  const uint32_t index = nibbles & 0x7777u;
  const uint32_t lower = __byte_perm(table.x, table.y, index);
  const uint32_t upper = __byte_perm(table.z, table.w, index);
  return __byte_perm(lower, upper, 0x3210u | (nibbles & 0x8888u) >> 1);
}

// What a row of a group has of two steps j and j + 4 of four inputs each, beside the nibbles.
struct MoreBits {
  uint2 pairs;
  uint32_t bits;
};
template <PanelKind kKind>
__device__ inline MoreBits LoadMore(const uint8_t* group, int r) {
  MoreBits more = {};
  if constexpr (kHasPairs<kKind>) {
    more.pairs = __ldg(reinterpret_cast<const uint2*>(group + kPairsAt<kKind> + r * 8));
  }
  if constexpr (kHasBits<kKind>) {
    more.bits = __ldg(reinterpret_cast<const uint32_t*>(group + kBitsAt<kKind> + r * 4));
  }
  return more;
}

// Levels of the two steps. Unsigned ones stay so with `kUnsigned`.
template <PanelKind kKind, bool kUnsigned>
__device__ inline void LevelsOf(uint32_t nibbles, const MoreBits& more, int j, uint32_t& first,
                                uint32_t& second) {
  if constexpr (kKind == PanelKind::kNl4 || kKind == PanelKind::kNl4Super ||
                kKind == PanelKind::kFp4) {
    const uint4 table = ValueTable<kKind>();
    const uint32_t even = FourValues(table, nibbles);
    const uint32_t odd = FourValues(table, nibbles >> 16);
    first = __byte_perm(even, odd, 0x6420);
    second = __byte_perm(even, odd, 0x7531);
    return;
  }
  constexpr uint32_t kNibbles = 0x0f0f0f0fu;
  constexpr uint32_t kPairs = 0x03030303u;
  constexpr uint32_t kOnes = 0x01010101u;
  constexpr int kBelow = kHasNibbles<kKind> ? 4 : 0;  // bits that lie below pairs
  first = kHasNibbles<kKind> ? nibbles & kNibbles : 0;
  second = kHasNibbles<kKind> ? nibbles >> 4 & kNibbles : 0;
  if constexpr (kHasPairs<kKind>) {
    first |= (more.pairs.x >> 2 * j & kPairs) << kBelow;
    second |= (more.pairs.y >> 2 * j & kPairs) << kBelow;
  }
  if constexpr (kHasBits<kKind>) {
    constexpr int kUnder = kHasNibbles<kKind> ? 4 : 2;
    first |= (more.bits >> j & kOnes) << kUnder;
    second |= (more.bits >> (j + 4) & kOnes) << kUnder;
  }
  if constexpr (kOffset<kKind> > 0 && !kUnsigned) {
    first = Less(first, kOffset<kKind> * kOnes);
    second = Less(second, kOffset<kKind> * kOnes);
  }
}

// --- for vector units: a thread has one output row ----------------------------------------------

template <PanelKind kKind>
struct GroupRow {
  uint4 words;
  MoreBits more;

  __device__ void Load(const uint8_t* chunk, int g, int r) {
    const uint8_t* const group = chunk + g * kGroupBytes<kKind>;
    if constexpr (kHasNibbles<kKind>) {
      words = __ldg(reinterpret_cast<const uint4*>(group + r * 16));
    }
    more = LoadMore<kKind>(group, r);
  }
  // Inputs 4j.. in word j.
  __device__ void Unpack(uint32_t (&w)[8]) const {
    const uint32_t nibbles[4] = {words.x, words.y, words.z, words.w};
    for (int j = 0; j < 4; ++j) LevelsOf<kKind, kUnsigned>(nibbles[j], more, j, w[j], w[4 + j]);
  }
  // What Σu·q lacks of Σ(u − offset)·q: cheaper than subtracting from every level.
  __device__ static int Offset(float2 meta) {
    return kUnsigned ? static_cast<int>(kOffset<kKind>) * static_cast<int>(meta.y) : 0;
  }

 private:
  static constexpr bool kUnsigned = !kHalves<kKind>;
};

template <>
struct GroupRow<PanelKind::kU8> {
  uint4 low, high;

  __device__ void Load(const uint8_t* chunk, int g, int r) {
    low = __ldg(reinterpret_cast<const uint4*>(chunk + g * 512 + r * 16));
    high = __ldg(reinterpret_cast<const uint4*>(chunk + g * 512 + 256 + r * 16));
  }
  __device__ void Unpack(uint32_t (&w)[8]) const {
    w[0] = low.x, w[1] = low.y, w[2] = low.z, w[3] = low.w;
    w[4] = high.x, w[5] = high.y, w[6] = high.z, w[7] = high.w;
  }
  __device__ static int Offset(float2) { return 0; }
};

// --- for tensor cores ---------------------------------------------------------------------------

// A lane's words of a panel's rows l / 4 and l / 4 + 8.
template <PanelKind kKind>
struct GroupTile {
  uint32_t words[2];
  MoreBits more[2];

  __device__ void Load(const uint8_t* chunk, int g, int r, int word) {
    const uint8_t* const group = chunk + g * kGroupBytes<kKind>;
    for (int i = 0; i < 2; ++i) {
      if constexpr (kHasNibbles<kKind>) {
        words[i] = __ldg(reinterpret_cast<const uint32_t*>(group + (r + 8 * i) * 16 + word * 4));
      }
      more[i] = LoadMore<kKind>(group, r + 8 * i);
    }
  }
  __device__ void Fragment(int word, uint32_t (&a)[4]) const {
    for (int i = 0; i < 2; ++i) LevelsOf<kKind, false>(words[i], more[i], word, a[i], a[2 + i]);
  }
};

template <>
struct GroupTile<PanelKind::kU8> {
  uint32_t words[4];

  __device__ void Load(const uint8_t* chunk, int g, int r, int word) {
    for (int i = 0; i < 4; ++i) {
      words[i] = __ldg(reinterpret_cast<const uint32_t*>(chunk + g * 512 + i / 2 * 256 +
                                                         (r + i % 2 * 8) * 16 + word * 4));
    }
  }
  __device__ void Fragment(int, uint32_t (&a)[4]) const {
    for (int i = 0; i < 4; ++i) a[i] = words[i];
  }
};

// Where a panel's chunk of kChunkGroups groups has its levels and its scales. Groups of a chunk lie
// at distances known to the compiler: nothing is left to reckon where they are loaded.
struct PanelChunk {
  const uint8_t* levels;
  const uint8_t* scales;
};
template <PanelKind kKind>
__device__ inline PanelChunk ChunkAt(const uint8_t* panel, int64_t quant_bytes, int chunk) {
  return {panel + int64_t{chunk} * kChunkGroups * kGroupBytes<kKind>,
          panel + quant_bytes + int64_t{chunk} * Scale<kKind>::kChunkBytes};
}
template <PanelKind kKind>
__device__ inline PanelChunk NextChunk(const PanelChunk& chunk) {
  return {chunk.levels + kChunkGroups * kGroupBytes<kKind>,
          chunk.scales + Scale<kKind>::kChunkBytes};
}

// A group's weights of 16 outputs as a lane has them, and its factors of rows l / 4 and l / 4 + 8.
template <PanelKind kKind>
struct PanelGroup {
  GroupTile<kKind> bits;
  Scale<kKind> scale[2];

  __device__ void Load(const PanelChunk& chunk, int g) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    bits.Load(chunk.levels, g, lane / 4, lane % 4);
    scale[0].Load(chunk.scales, g, lane / 4);
    scale[1].Load(chunk.scales, g, lane / 4 + 8);
  }
};

// The panels of a warp of the kernels for many rows, read a group ahead of the products.
template <PanelKind kKind, int kPanels>
struct WarpPanels {
  PanelGroup<kKind> next[kPanels];
  int first_output[kPanels];

  __device__ WarpPanels(const MatrixLaunch& launch, const MatrixRun& run, const Tile& tile,
                        const Place& place) {
    for (int p = 0; p < kPanels; ++p) {
      const int panel = place.panel + static_cast<int>(threadIdx.x) / 32 * kPanels + p;
      first_output[p] = panel * 16;
      // Beyond the matrix the last panel is computed again and not stored.
      const int64_t read = int64_t{tile.matrix} * place.panels + min(panel, place.panels - 1);
      at_[p] = ChunkAt<kKind>(run.panels + read * launch.panel_bytes, launch.quant_bytes, 0);
      next[p].Load(at_[p], 0);
    }
  }
  // Loads the group after g, into the next chunk too.
  __device__ void Advance(int g, int groups) {
    const int ahead = (g + 1) % kChunkGroups;
    for (int p = 0; p < kPanels; ++p) {
      if (ahead == 0) at_[p] = NextChunk<kKind>(at_[p]);
      if (g + 1 < groups) next[p].Load(at_[p], ahead);
    }
  }

 private:
  PanelChunk at_[kPanels];
};

// Calls function(constant) with the kind as a constant; of quantised kinds only.
template <typename Function>
void WithQuantisedKind(PanelKind kind, Function function) {
  switch (kind) {
#define CONCLAVE_KIND(name) \
  case PanelKind::name:     \
    return function(std::integral_constant<PanelKind, PanelKind::name>());
    CONCLAVE_KIND(kU8)
    CONCLAVE_KIND(kU4)
    CONCLAVE_KIND(kU5)
    CONCLAVE_KIND(kU4HalfMin)
    CONCLAVE_KIND(kU5HalfMin)
    CONCLAVE_KIND(kU4Min)
    CONCLAVE_KIND(kU5Min)
    CONCLAVE_KIND(kU2Min)
    CONCLAVE_KIND(kU3)
    CONCLAVE_KIND(kU6)
    CONCLAVE_KIND(kNl4)
    CONCLAVE_KIND(kNl4Super)
    CONCLAVE_KIND(kFp4)
#undef CONCLAVE_KIND
    default:
      return;
  }
}
