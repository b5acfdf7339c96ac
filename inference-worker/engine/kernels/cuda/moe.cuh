// Feed-forward networks and their routing: the module's operations of the same names (module.h).
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

void MatmulOp(ConclaveCudaContext*, const ConclaveCudaOutput* outputs, int32_t num_outputs,
              const float* x, int64_t x_stride, int64_t rows);
void MatmulHeadsOp(ConclaveCudaContext*, const ConclaveCudaMatrix* weight, const float* x,
                   int64_t x_head, int64_t rows, float* y, int64_t y_head);
void FfnOp(ConclaveCudaContext*, const ConclaveCudaFfn*, const float* x, int64_t x_stride,
           int64_t rows, float* y, int64_t y_stride);
void MoeOp(ConclaveCudaContext*, const ConclaveCudaFfn*, const ConclaveCudaRouting*, const float* x,
           int64_t x_stride, int64_t rows, float* y, int64_t y_stride);
void RouteOp(ConclaveCudaContext*, const ConclaveCudaRouter*, const float* logits, int64_t stride,
             int64_t rows, int32_t* ids, float* weights);
