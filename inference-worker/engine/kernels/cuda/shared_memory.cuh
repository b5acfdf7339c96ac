// Shared memory that a launch asks for, and matrices of 16-bit elements out of shared memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

__device__ inline uint8_t* SharedMemory() {
#ifdef CONCLAVE_CUDA_EMULATOR
  return static_cast<uint8_t*>(emulator::SharedMemory());
#else
  extern __shared__ __align__(16) uint8_t shared_memory[];
  return shared_memory;
#endif
}

// Four matrices of 8 × 8 elements ("ldmatrix", .m8n8.x4.b16): lane l names row l % 8, 16 bytes, of
// matrix l / 8, and gets of each the elements 2·word, 2·word + 1 of row l / 4, with word = l % 4.
__device__ inline void LoadMatrices(uint32_t (&m)[4], const uint8_t* row) {
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::LoadMatrices(m, row, false);
#else
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(at)
               : "memory");
#endif
}
// The same of the matrices turned over (.trans): rows 2·word, 2·word + 1 at element l / 4.
__device__ inline void LoadTurned(uint32_t (&m)[4], const uint8_t* row) {
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::LoadMatrices(m, row, true);
#else
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(at)
               : "memory");
#endif
}
