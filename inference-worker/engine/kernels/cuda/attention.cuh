// Paged attention: the module's operations store_kv and attention (module.h).
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

// Strips of 64 tokens that launches for few rows are made for, rounded up so that a growing
// sequence changes them rarely.
inline int64_t AttentionStrips(int64_t tokens) {
  int64_t strips = 8;
  while (strips * 64 < tokens) strips *= 2;
  return strips;
}

void StoreKvOp(ConclaveCudaContext*, const ConclaveCudaKv*, const float* k, int64_t k_stride,
               const float* v, int64_t v_stride);
// Of one span of the step.
void ExpandedAttentionOp(ConclaveCudaContext*, const ConclaveCudaKv* latents,
                         const ConclaveCudaExpanded*);
void AttentionOp(ConclaveCudaContext*, const ConclaveCudaKv*, const ConclaveCudaAttention*);
