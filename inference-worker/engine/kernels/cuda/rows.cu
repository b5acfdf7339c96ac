// Norms, rotation, activations, rounding to int8, lookups.
#include "engine/kernels/cuda/rows.cuh"

#include "engine/kernels/cuda/device.cuh"

using conclave::engine::RopeStyle;

namespace {

constexpr unsigned kThreads = 256;

// A warp per group of 32.
__global__ void Quantize(const float* x, int64_t stride, int64_t rows, int groups, int8_t* q,
                         float2* meta) {
  const int64_t group = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (group >= rows * groups) return;
  const int64_t row = group / groups;
  const int64_t g = group % groups;
  QuantizeGroup(x[row * stride + g * 32 + threadIdx.x % 32], q + group * 32, meta + group);
}

__global__ void ActivateAndQuantize(int activation, const float* gate, const float* up,
                                    int64_t groups, int8_t* q, float2* meta) {
  const int64_t group = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (group >= groups) return;
  const int64_t at = group * 32 + threadIdx.x % 32;
  QuantizeGroup(Combined(activation, gate, up, at), q + group * 32, meta + group);
}

// y = norm(x); with `added`, x += added first (y may be `added`); with q, also as int8, rows
// without gaps. A thread keeps to its own elements, a warp to whole groups of 32.
__global__ void RmsNorm(float* x, const float* added, int64_t x_stride, int n, const float* weight,
                        float eps, float* y, int64_t y_stride, int8_t* q, float2* meta) {
  __shared__ float shared[32];
  float* const row = x + static_cast<int64_t>(blockIdx.x) * x_stride;
  float* const out = y + static_cast<int64_t>(blockIdx.x) * y_stride;
  const int step = static_cast<int>(blockDim.x);
  float squares = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += step) {
    float value = row[i];
    if (added != nullptr) {
      value += added[static_cast<int64_t>(blockIdx.x) * n + i];
      row[i] = value;
    }
    squares = fmaf(value, value, squares);
  }
  const float mean = BlockSum(squares, shared) / static_cast<float>(n);
  const float factor = 1.0f / sqrtf(mean + eps);
  for (int i = static_cast<int>(threadIdx.x); i < n; i += step) {
    const float value = row[i] * factor * weight[i];
    out[i] = value;
    if (q == nullptr) continue;
    const int64_t group = (static_cast<int64_t>(blockIdx.x) * n + i) / 32;
    QuantizeGroup(value, q + group * 32, meta + group);
  }
}

__global__ void LayerNorm(const float* x, int64_t x_stride, int n, const float* weight,
                          const float* bias, float eps, float* y, int64_t y_stride) {
  __shared__ float shared[32];
  const float* const row = x + static_cast<int64_t>(blockIdx.x) * x_stride;
  float* const out = y + static_cast<int64_t>(blockIdx.x) * y_stride;
  const int step = static_cast<int>(blockDim.x);
  float sum = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += step) sum += row[i];
  const float mean = BlockSum(sum, shared) / static_cast<float>(n);
  float squares = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += step) {
    const float apart = row[i] - mean;
    squares = fmaf(apart, apart, squares);
  }
  const float variance = BlockSum(squares, shared) / static_cast<float>(n);
  const float factor = 1.0f / sqrtf(variance + eps);
  for (int i = static_cast<int>(threadIdx.x); i < n; i += step) {
    out[i] = fmaf((row[i] - mean) * factor, weight[i], bias[i]);
  }
}

__global__ void CopyRows(const float* x, int64_t x_stride, int64_t rows, int64_t n, float* y,
                         int64_t y_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < rows * n) y[i / n * y_stride + i % n] = x[i / n * x_stride + i % n];
}

__global__ void Scale(float factor, int64_t n, float* x) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= factor;
}

__global__ void AddGated(const float* x, const float* gate, int64_t rows, int64_t n, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < rows * n) y[i] = fmaf(x[i], 1.0f / (1.0f + expf(-gate[i / n])), y[i]);
}

__global__ void Add(const float* x, int64_t n, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] += x[i];
}

__global__ void Activate(int activation, const float* gate, const float* up, int64_t n, float* y) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = Combined(activation, gate, up, i);
}

__global__ void RopeAngles(const float* inverse_frequency, int pairs, const int32_t* positions,
                           int64_t rows, float magnitude, float* cos_sin) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * pairs) return;
  const float angle = static_cast<float>(positions[i / pairs]) * inverse_frequency[i % pairs];
  cos_sin[2 * i] = cosf(angle) * magnitude;
  cos_sin[2 * i + 1] = sinf(angle) * magnitude;
}

__global__ void Rope(bool adjacent, float* x, int64_t stride, int64_t rows, int num_heads,
                     int head_dim, int pairs, const float* cos_sin) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t per_row = static_cast<int64_t>(num_heads) * pairs;
  if (i >= rows * per_row) return;
  const int64_t row = i / per_row;
  const int head = static_cast<int>(i % per_row / pairs);
  const int pair = static_cast<int>(i % pairs);
  float* const at = x + row * stride + static_cast<int64_t>(head) * head_dim;
  float* const first = at + (adjacent ? 2 * pair : pair);
  float* const second = first + (adjacent ? 1 : pairs);
  const float c = cos_sin[(row * pairs + pair) * 2];
  const float s = cos_sin[(row * pairs + pair) * 2 + 1];
  const float a = *first;
  const float b = *second;
  *first = a * c - b * s;
  *second = b * c + a * s;
}

__global__ void Gather(const float* x, int64_t x_stride, const int32_t* rows, int64_t n, float* y,
                       int64_t y_stride) {
  const float* const from = x + rows[blockIdx.x] * x_stride;
  float* const to = y + static_cast<int64_t>(blockIdx.x) * y_stride;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = from[i];
}

// The shape of a row's sum depends on its width alone.
unsigned ThreadsForRow(int64_t n) { return n <= 64 ? 32 : n <= 256 ? 64 : n <= 1024 ? 128 : 256; }

}  // namespace

void QuantizeRows(ConclaveCudaContext* c, const float* x, int64_t stride, int64_t rows,
                  int64_t cols, int8_t* q, float2* meta) {
  const int64_t groups = rows * (cols / 32);
  Launch(c, "rounding activations", Quantize, dim3(CeilDiv(groups, kThreads / 32)), kThreads, x,
         stride, rows, static_cast<int>(cols / 32), q, meta);
}

void ActivateQuantize(ConclaveCudaContext* c, int activation, const float* gate, const float* up,
                      int64_t rows, int64_t cols, int8_t* q, float2* meta) {
  const int64_t groups = rows * (cols / 32);
  Launch(c, "activation", ActivateAndQuantize, dim3(CeilDiv(groups, kThreads / 32)), kThreads,
         activation, gate, up, groups, q, meta);
}

void FinishSum(ConclaveCudaContext* c) {
  const ConclaveCudaContext::Sum sum = c->pending_sum;
  c->pending_sum = {};
  if (sum.y == nullptr) return;
  Launch(c, "addition", Add, dim3(CeilDiv(sum.n, kThreads)), kThreads, sum.x, sum.n, sum.y);
}

void RmsNormOp(ConclaveCudaContext* c, const float* x, int64_t x_stride, int64_t rows, int64_t n,
               const float* weight, float eps, float* y, int64_t y_stride) {
  // A sum whose rows these are, all of them.
  const ConclaveCudaContext::Sum sum = c->pending_sum;
  const bool apart = y + rows * y_stride <= sum.x || sum.x + sum.n <= y;
  const bool adds =
      sum.y == x && sum.n == rows * n && x_stride == n && (apart || (y == sum.x && y_stride == n));
  if (adds) {
    c->pending_sum = {};
  } else {
    FinishSum(c);
  }
  int8_t* q = nullptr;
  float2* meta = nullptr;
  c->rounded = {};
  if (c->rounds_norms && n % 32 == 0 && y_stride >= n) {
    q = ScratchOf<int8_t>(c, kInputInt8, rows * n);
    meta = ScratchOf<float2>(c, kInputMeta, rows * (n / 32));
    c->rounded = {y, y_stride, rows, n};
  }
  Launch(c, "RMS norm", RmsNorm, dim3(static_cast<unsigned>(rows)), ThreadsForRow(n),
         const_cast<float*>(x), adds ? sum.x : nullptr, x_stride, static_cast<int>(n), weight, eps,
         y, y_stride, q, meta);
}

void LayerNormOp(ConclaveCudaContext* c, const float* x, int64_t x_stride, int64_t rows, int64_t n,
                 const float* weight, const float* bias, float eps, float* y, int64_t y_stride) {
  Launch(c, "layer norm", LayerNorm, dim3(static_cast<unsigned>(rows)), ThreadsForRow(n), x,
         x_stride, static_cast<int>(n), weight, bias, eps, y, y_stride);
}

void CopyRowsOp(ConclaveCudaContext* c, const float* x, int64_t x_stride, int64_t rows, int64_t n,
                float* y, int64_t y_stride) {
  Launch(c, "copying rows", CopyRows, dim3(CeilDiv(rows * n, kThreads)), kThreads, x, x_stride,
         rows, n, y, y_stride);
}

void ScaleOp(ConclaveCudaContext* c, float factor, int64_t n, float* x) {
  Launch(c, "scaling", Scale, dim3(CeilDiv(n, kThreads)), kThreads, factor, n, x);
}

void AddGatedOp(ConclaveCudaContext* c, const float* x, const float* gate, int64_t rows, int64_t n,
                float* y) {
  Launch(c, "gated addition", AddGated, dim3(CeilDiv(rows * n, kThreads)), kThreads, x, gate, rows,
         n, y);
}

void AddOp(ConclaveCudaContext* c, const float* x, int64_t n, float* y) {
  FinishSum(c);
  c->pending_sum = {x, n, y};
}

void ActivateOp(ConclaveCudaContext* c, int32_t activation, const float* gate, const float* up,
                int64_t n, float* y) {
  Launch(c, "activation", Activate, dim3(CeilDiv(n, kThreads)), kThreads, activation, gate, up, n,
         y);
}

void RopeAnglesOp(ConclaveCudaContext* c, const float* inverse_frequency, int32_t pairs,
                  const int32_t* positions, int64_t rows, float magnitude, float* cos_sin) {
  const float* const frequencies = InputOf(c, inverse_frequency, pairs);
  const int32_t* const places = InputOf(c, positions, rows);
  Launch(c, "angles", RopeAngles, dim3(CeilDiv(rows * pairs, kThreads)), kThreads, frequencies,
         pairs, places, rows, magnitude, cos_sin);
}

void RopeOp(ConclaveCudaContext* c, int32_t style, float* x, int64_t stride, int64_t rows,
            int32_t num_heads, int32_t head_dim, int32_t rope_dim, const float* cos_sin) {
  const int pairs = rope_dim / 2;
  Launch(c, "rotation", Rope, dim3(CeilDiv(rows * num_heads * pairs, kThreads)), kThreads,
         style == static_cast<int32_t>(RopeStyle::kNorm), x, stride, rows, num_heads, head_dim,
         pairs, cos_sin);
}

void GatherRowsOp(ConclaveCudaContext* c, const float* x, int64_t x_stride, const int32_t* rows,
                  int64_t num_rows, int64_t n, float* y, int64_t y_stride) {
  const int32_t* const numbers = InputOf(c, rows, num_rows);
  Launch(c, "gathering rows", Gather, dim3(static_cast<unsigned>(num_rows)), kThreads, x, x_stride,
         numbers, n, y, y_stride);
}
