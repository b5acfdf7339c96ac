// Arithmetic on two halves in one register, rounded once to nearest. The low half is the first.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/cuda/device.cuh"

constexpr uint32_t kPairOf1152 = 0x64806480u;

#ifdef CONCLAVE_CUDA_EMULATOR

template <typename Function>
inline uint32_t ForBoth(Function function) {
  return static_cast<uint32_t>(ToHalfBits(function(0))) |
         static_cast<uint32_t>(ToHalfBits(function(16))) << 16;
}
inline float HalfAt(uint32_t pair, int shift) {
  return HalfBits(static_cast<uint16_t>(pair >> shift));
}

inline uint32_t PairOf(float x) {
  return ForBoth([=](int) { return x; });
}
inline uint32_t PairMinus(uint32_t a, uint32_t b) {
  return ForBoth([=](int shift) { return HalfAt(a, shift) - HalfAt(b, shift); });
}
inline uint32_t PairTimes(uint32_t a, uint32_t b) {
  return ForBoth([=](int shift) { return HalfAt(a, shift) * HalfAt(b, shift); });
}
inline uint32_t PairFma(uint32_t a, uint32_t b, uint32_t c) {
  return ForBoth(
      [=](int shift) { return fmaf(HalfAt(a, shift), HalfAt(b, shift), HalfAt(c, shift)); });
}

#else

__device__ inline __half2 AsPair(uint32_t bits) { return *reinterpret_cast<__half2*>(&bits); }
__device__ inline uint32_t PairBits(__half2 pair) { return *reinterpret_cast<uint32_t*>(&pair); }

__device__ inline uint32_t PairOf(float x) { return PairBits(__float2half2_rn(x)); }
__device__ inline uint32_t PairMinus(uint32_t a, uint32_t b) {
  return PairBits(__hsub2_rn(AsPair(a), AsPair(b)));
}
__device__ inline uint32_t PairTimes(uint32_t a, uint32_t b) {
  return PairBits(__hmul2_rn(AsPair(a), AsPair(b)));
}
__device__ inline uint32_t PairFma(uint32_t a, uint32_t b, uint32_t c) {
  return PairBits(__hfma2(AsPair(a), AsPair(b), AsPair(c)));
}

#endif
