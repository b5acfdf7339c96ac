// What the bytes of a weight mean. One format = one file in this folder + one row in all.cc; the
// tests walk the array, so a new row is tested the moment it exists.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/quant/panel.h"
#include "engine/tensor/dtype.h"

namespace conclave::engine {

struct QuantFormat {
  DType dtype;
  // `n` elements, a multiple of the block, bit-equal to the `gguf` Python package. `src` may be
  // unaligned; the two do not overlap.
  void (*dequantize_row)(const void* src, float* dst, int64_t n);
  // The inverse, lossy; nullptr where only others write this format. Bit-equal to the `gguf`
  // package where that has a quantiser; plain min–max for the K family.
  void (*quantize_row)(const float* src, void* dst, int64_t n);
  // The layout the kernels multiply from, and the function that writes one panel of it from
  // `rows` (1..16) rows of `cols` elements that lie `row_bytes` apart; missing rows become zeros.
  PanelKind panel;
  void (*pack_panel)(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst);

  std::string_view name() const { return NameOf(dtype); }
  int32_t block_elements() const { return InfoOf(dtype).block_elements; }
  int32_t block_bytes() const { return InfoOf(dtype).block_bytes; }
};

// Every format there is code for.
std::span<const QuantFormat* const> AllFormats();
// nullptr when there is none: the type is known, its arithmetic is not.
const QuantFormat* FindFormat(DType dtype);

}  // namespace conclave::engine
