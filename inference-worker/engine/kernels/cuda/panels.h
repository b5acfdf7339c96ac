// Weights as the GPU multiplies them: the panels of quant/panel.h (16 output rows) with the words
// of a row side by side, so that one thread reads 16 bytes of its own row and a warp reads a line.
// The planes of scales are the same. Written for row r (0..15) and group g of
// 32 inputs, whose planes follow each other:
//
//   nibbles      [r][4 words]: word j has inputs 4j.. in its low, 16 + 4j.. in its high nibbles
//   pairs        [r][2 words]: bits 2j of word h belong to inputs 16h + 4j..
//   bits         [r][1 word]: bit s of a byte belongs to one of inputs 4s..
//   kU8          [g][half][r][4 words] of signed bytes: word j of half h has inputs 16h + 4j..
//   kF32         [k/4][r][4 floats];  kF16, kBF16  [k/8][r][8 halves]; zeros beyond the last input.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "engine/kernels/cpu/thread_pool.h"
#include "engine/kernels/cuda/panel_bytes.h"
#include "engine/tensor/buffer.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor_view.h"

namespace conclave::engine {

// Whether the device has kernels for the type, as a matrix and as a table of rows. engine.quant
// knows more types; what is missing here is refused, never laid out as something else.
bool HasCudaKernels(DType dtype);

// A panel of the CPU's (quant/panel.h) as the GPU has it; `to` has room for CudaPanelBytes. Of
// kinds that HasCudaKernels.
void ReorderPanel(PanelKind kind, int64_t in, const std::byte* cpu_panel, std::byte* to);
// The other way: a panel of the GPU's as the CPU has it, the same bytes that were reordered.
void RestorePanel(PanelKind kind, int64_t in, const std::byte* device_panel, std::byte* to);

// [out][in] or [matrices][out][in], in host memory; checked as Kernels::Pack promises.
// UNIMPLEMENTED for types without kernels.
struct CudaPanels {
  PanelKind kind = PanelKind::kF32;
  int64_t matrices = 0;
  int64_t out = 0;
  int64_t in = 0;
  Buffer data;
};
absl::StatusOr<CudaPanels> PackCudaPanels(const TensorView& weight, ThreadPool& pool);

}  // namespace conclave::engine
