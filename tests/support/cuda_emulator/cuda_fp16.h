// Halves for the emulated device: the conversions of quant/half.h are exact.
#pragma once

#include <cstdint>

#include "engine/quant/half.h"

struct __half {
  uint16_t bits;
};
inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
inline uint16_t __half_as_ushort(__half x) { return x.bits; }
inline float __half2float(__half x) { return conclave::engine::HalfToFloat(x.bits); }
inline __half __float2half_rn(float x) { return {conclave::engine::FloatToHalf(x)}; }
