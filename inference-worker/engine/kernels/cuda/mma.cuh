// Tensor-core products of signed bytes: c += a · b with exact 32-bit sums. Fragments as the PTX ISA
// lays them out ("Matrix fragments for mma.m16n8k32" and ".m16n8k16", 8-bit types): of lane l, with
// row = l / 4 and word = l % 4,
//   a: inputs 4·word.. of rows `row` and row + 8, then (k32) inputs 16 + 4·word.. of the same rows
//   b: inputs 4·word.. of column l / 4, then (k32) inputs 16 + 4·word..
//   c: columns 2·word, 2·word + 1 of row `row`, then of row + 8
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

__device__ inline void MmaK32(int (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::Mma(c, a, 4, b0, b1);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

__device__ inline void MmaK16(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t b0) {
#ifdef CONCLAVE_CUDA_EMULATOR
  const uint32_t a[4] = {a0, a1, 0, 0};
  emulator::Mma(c, a, 2, b0, 0);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(b0));
#endif
}

// c += a · b of halves, with sums in fp32 (".m16n8k16", 16-bit types): of lane l as above,
//   a: inputs 2·word, 2·word + 1 of rows `row` and row + 8, then inputs 8 + 2·word.. of the same
//   rows b: inputs 2·word, 2·word + 1 of column l / 4, then inputs 8 + 2·word.. c: as above
__device__ inline void MmaHalf(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::MmaHalf(c, a, b0, b1);
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// c += a · b of tf32 values in fp32 registers, with sums in fp32 (".m16n8k8", .tf32): of lane l as
// above,
//   a: input `word` of rows `row` and row + 8, then input word + 4 of the same rows
//   b: input `word` of column l / 4, then input word + 4
//   c: as above
__device__ inline void MmaTf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::MmaTf32(c, a, b0, b1);
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
