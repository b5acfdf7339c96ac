// Operations on rows and elements: launches of rows.cu.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

// Rows of x, `stride` apart, as int8 without gaps: q [rows][cols], meta [rows][cols / 32].
void QuantizeRows(ConclaveCudaContext* c, const float* x, int64_t stride, int64_t rows,
                  int64_t cols, int8_t* q, float2* meta);
// The same of act(gate) · up, both [rows][cols] without gaps.
void ActivateQuantize(ConclaveCudaContext* c, int activation, const float* gate, const float* up,
                      int64_t rows, int64_t cols, int8_t* q, float2* meta);

// Launches the sum that AddOp has put off. Before anything but a norm of its result.
void FinishSum(ConclaveCudaContext* c);

// The module's operations of the same names (module.h).
void RmsNormOp(ConclaveCudaContext*, const float* x, int64_t x_stride, int64_t rows, int64_t n,
               const float* weight, float eps, float* y, int64_t y_stride);
void LayerNormOp(ConclaveCudaContext*, const float* x, int64_t x_stride, int64_t rows, int64_t n,
                 const float* weight, const float* bias, float eps, float* y, int64_t y_stride);
void ScaleOp(ConclaveCudaContext*, float factor, int64_t n, float* x);
void AddGatedOp(ConclaveCudaContext*, const float* x, const float* gate, int64_t rows, int64_t n,
                float* y);
void CopyRowsOp(ConclaveCudaContext*, const float* x, int64_t x_stride, int64_t rows, int64_t n,
                float* y, int64_t y_stride);
void AddOp(ConclaveCudaContext*, const float* x, int64_t n, float* y);
void ActivateOp(ConclaveCudaContext*, int32_t activation, const float* gate, const float* up,
                int64_t n, float* y);
void RopeAnglesOp(ConclaveCudaContext*, const float* inverse_frequency, int32_t pairs,
                  const int32_t* positions, int64_t rows, float magnitude, float* cos_sin);
void RopeOp(ConclaveCudaContext*, int32_t style, float* x, int64_t stride, int64_t rows,
            int32_t num_heads, int32_t head_dim, int32_t rope_dim, const float* cos_sin);
void EmbedRowsOp(ConclaveCudaContext*, const void* table, int32_t dtype, int64_t cols,
                 int64_t row_bytes, const int32_t* ids, int64_t rows, float* out,
                 int64_t out_stride);
void GatherRowsOp(ConclaveCudaContext*, const float* x, int64_t x_stride, const int32_t* rows,
                  int64_t num_rows, int64_t n, float* y, int64_t y_stride);
