// Small pieces that all kernels use. Nothing here or in the kernels is contracted: what is fused
// says fmaf, so that two kernels which compute the same thing give the same bits.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/types.h"

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float HalfBits(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
__device__ inline uint16_t ToHalfBits(float x) { return __half_as_ushort(__float2half_rn(x)); }
__device__ inline float Bf16Bits(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

// 2^(e − 128).
__device__ inline float HalfOfE8m0Bits(uint8_t e) {
  return __uint_as_float(e < 2 ? 0x00200000u << e : (static_cast<uint32_t>(e) - 1) << 23);
}

// Trees of a fixed shape: every lane gets the result.
__device__ inline float WarpMax(float x) {
  for (int d = 16; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, d));
  return x;
}
__device__ inline float WarpSum(float x) {
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(kAllLanes, x, d);
  return x;
}
__device__ inline int WarpSum(int x) {
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(kAllLanes, x, d);
  return x;
}

// Of a block of up to 32 warps: warps fold to one value each, added in order. `shared` holds 32.
__device__ inline float BlockSum(float x, float* shared) {
  x = WarpSum(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = shared[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w) sum += shared[w];
  __syncthreads();
  return sum;
}
__device__ inline float BlockMax(float x, float* shared) {
  x = WarpMax(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  float max = shared[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w) max = fmaxf(max, shared[w]);
  __syncthreads();
  return max;
}

__device__ inline float Activated(int activation, float x) {
  if (activation == static_cast<int>(conclave::engine::Activation::kSilu)) {
    return x / (1.0f + expf(-x));
  }
  if (activation == static_cast<int>(conclave::engine::Activation::kGeluErf)) {
    return x * (0.5f * erfcf(-x * 0.70710678118654752f));
  }
  const float inner = fmaf(x * x * x, 0.044715f, x);
  return x / (1.0f + expf(-2.0f * 0.79788456080286536f * inner));
}

// act(gate) · up; types.h says what the clamped unit is. Without a gate: act(up).
__device__ inline float Combined(int activation, const float* gate, const float* up, int64_t i) {
  if (gate == nullptr) return Activated(activation, up[i]);
  if (activation == static_cast<int>(conclave::engine::Activation::kSwigluOai)) {
    const float g = fminf(gate[i], 7.0f);
    const float u = fmaxf(fminf(up[i], 7.0f), -7.0f);
    return g / (1.0f + expf(-1.702f * g)) * (u + 1.0f);
  }
  const float active = Activated(activation, gate[i]);
  return up == nullptr ? active : active * up[i];
}

// Where inputs 4·word.. of a group of 32 lie among its int8 activations: words w and w + 4 are
// neighbours, as a lane of mma.cuh wants them.
__device__ inline int WordPlace(int word) { return word % 4 * 2 + word / 4; }

// A group of 32 activations as int8 (quant/int8_rows.h), one lane each. Lane 0 writes {scale, −Σq}.
__device__ inline void QuantizeGroup(float x, int8_t* q, float2* meta) {
  const int lane = threadIdx.x % 32;
  const float largest = WarpMax(fabsf(x));
  const bool zero = !(largest > 1e-30f);
  const float scale = zero ? 0.0f : largest / 127.0f;
  const float inverse = zero ? 0.0f : 1.0f / scale;
  const int level = __float2int_rn(fminf(fmaxf(x * inverse, -127.0f), 127.0f));
  q[WordPlace(lane / 4) * 4 + lane % 4] = static_cast<int8_t>(level);
  const int sum = WarpSum(level);
  if (lane == 0) *meta = make_float2(scale, static_cast<float>(-sum));
}
