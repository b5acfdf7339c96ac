// What one instruction set brings: single-threaded pieces that work on plain pointers. The device
// (cpu_kernels.h) cuts operations into these and spreads them over threads.
//
// Every table is made from the same sources in common/, over a vector of 16 lanes that vec.inl of
// each folder defines, with the same order of operations and explicit fused multiply-adds. So all
// tables give the same bits, and the scalar one is the reference for the rest.
//
// Those files are compiled with flags of their own. They may call no inline function of a shared
// header: the linker keeps one copy of such a function, and it must not be the AVX-512 one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/types.h"
#include "engine/quant/int8_rows.h"
#include "engine/quant/panel.h"

namespace conclave::engine {

// y[i][p·16 + lane] = panel row · activation row, for `count` panels of one matrix and m rows.
struct PanelRun {
  PanelKind kind = PanelKind::kF32;
  const std::byte* panels = nullptr;
  int64_t panel_bytes = 0;
  int64_t quant_bytes = 0;  // of a panel's first plane
  int64_t count = 0;        // panels
  int64_t cols = 0;
  int64_t valid = 0;  // output rows that exist: count·16 but for the matrix' last panel

  int64_t m = 0;
  const int32_t* rows = nullptr;  // activation row of each i; nullptr = i itself
  Int8Rows int8;                  // for quantised kinds
  const float* x = nullptr;       // for the others
  int64_t x_stride = 0;

  float* y = nullptr;
  int64_t y_stride = 0;
  const float* bias = nullptr;  // [valid], or none
};

// Up to kAttentionRows queries of one sequence that read the same kv head.
inline constexpr int kAttentionRows = 8;
inline constexpr int kMaxValueDim = 1024;

struct AttentionTile {
  const std::byte* keys = nullptr;  // K tile of this kv head in block 0
  int64_t values_offset = 0;        // from a K tile to its V tile
  int64_t block_bytes = 0;
  const int32_t* blocks = nullptr;
  bool half = true;             // fp16 storage, else fp32
  bool values_in_keys = false;  // no V tile: values are the first rows of the K tile
  int32_t head_dim = 0;
  int32_t value_dim = 0;
  float scale = 0;
  int32_t rows = 0;
  const float* q[kAttentionRows] = {};
  float* out[kAttentionRows] = {};
  int32_t first[kAttentionRows] = {};    // the first token this row sees
  int32_t visible[kAttentionRows] = {};  // the token after the last one it sees; > first
  float sink[kAttentionRows] = {};       // a logit without a value; −inf = none
  float slope[kAttentionRows] = {};      // ALiBi's, times the distance taken from a score
};

struct IsaTable {
  const char* name;
  bool (*supported)();

  void (*multiply)(const PanelRun& run);
  // `n` inputs, a multiple of 32, of one row.
  void (*quantize_int8)(const float* x, int64_t n, int8_t* q, float* scales,
                        int32_t* negative_sums);
  void (*rms_norm)(const float* x, int64_t n, const float* weight, float eps, float* y);
  void (*layer_norm)(const float* x, int64_t n, const float* weight, const float* bias, float eps,
                     float* y);
  void (*add)(const float* x, int64_t n, float* y);
  void (*add_scaled)(const float* x, float factor, int64_t n, float* y);  // y += factor · x
  void (*scale)(float factor, int64_t n, float* x);
  void (*sigmoid)(float* x, int64_t n);
  void (*activate)(Activation activation, const float* x, int64_t n, float* y);
  void (*activate_mul)(Activation activation, const float* gate, const float* up, int64_t n,
                       float* y);
  void (*softmax)(float* x, int64_t n);
  // The largest number of each block; −inf where there is none.
  void (*largest_by_block)(const float* x, int64_t n, float* largest);
  // weights = exp((x − max) · factor), 0 below e^−80 and for NaN, and their sum in each block; x <=
  // max.
  void (*weigh_by_block)(const float* x, int64_t n, float max, float factor, float* weights,
                         float* sums);
  void (*rope)(RopeStyle style, float* head, int32_t rope_dim, const float* cos_sin);
  // One token's key or value vector into its tile: element d at [d · element_stride].
  void (*store_half)(const float* x, int64_t n, uint16_t* out, int64_t element_stride);
  // Element d of token t of a K tile to out[t · out_stride + d].
  void (*unpack_keys)(const std::byte* tile, bool half, int64_t head_dim, int64_t tokens,
                      float* out, int64_t out_stride);
  void (*attend)(const AttentionTile& tile);
};

const IsaTable& ScalarTable();
const IsaTable& Avx2Table();
const IsaTable& Avx512Table();

}  // namespace conclave::engine
