// Weights of the quantised panels (panels.h) in registers: scales as the file has them and as
// factors, levels as signed bytes for the vector units and as fragments for the tensor cores.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/cuda/device.cuh"
#include "engine/quant/panel.h"

using conclave::engine::PanelKind;

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

// --- for vector units: a thread has one output row ----------------------------------------------

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

// --- for tensor cores ---------------------------------------------------------------------------

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

// A group's weights of 16 outputs as a lane has them, and its factors of rows l / 4 and l / 4 + 8.
template <PanelKind kKind>
struct PanelGroup {
  GroupTile<kKind> bits;
  Scale<kKind> scale[2];

  __device__ void Load(const uint8_t* panel, int64_t quant_bytes, int g) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    bits.Load(panel, g, lane / 4, lane % 4);
    scale[0].Load(panel + quant_bytes, g, lane / 4);
    scale[1].Load(panel + quant_bytes, g, lane / 4 + 8);
  }
};
