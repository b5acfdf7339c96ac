// Paged attention: the module's operations store_kv and attention (module.h).
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

void StoreKvOp(ConclaveCudaContext*, const ConclaveCudaKv*, const float* k, int64_t k_stride,
               const float* v, int64_t v_stride);
void AttentionOp(ConclaveCudaContext*, const ConclaveCudaKv*, const ConclaveCudaAttention*);
