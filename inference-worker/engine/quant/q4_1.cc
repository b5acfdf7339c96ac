// Q4_1: 32 elements, y = d · q + m; byte j holds element j (low) and element j + 16 (high).
#include <algorithm>
#include <cmath>

#include "engine/quant/bits.h"
#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

struct Block {
  uint16_t d;
  uint16_t m;
  uint8_t q[16];
};
static_assert(sizeof(Block) == 20);

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 32; ++b) {
    const Block block = Load<Block>(bytes + b * 20);
    const float d = HalfToFloat(block.d);
    const float m = HalfToFloat(block.m);
    for (int i = 0; i < 16; ++i) {
      // Two roundings, as the reference has: never a fused multiply-add.
      const float low = d * static_cast<float>(block.q[i] & 15);
      const float high = d * static_cast<float>(block.q[i] >> 4);
      dst[b * 32 + i] = low + m;
      dst[b * 32 + 16 + i] = high + m;
    }
  }
}

// The smallest element becomes level 0, the largest level 15.
void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* x = src + b * 32;
    const auto [min, max] = std::minmax_element(x, x + 32);
    const float lowest = *min;
    const float d = (*max - lowest) / 15;
    const float inverse = d == 0 ? 0 : 1 / d;
    const auto level = [=](float value) {
      const float shifted = (value - lowest) * inverse;
      return static_cast<uint8_t>(std::clamp(std::trunc(shifted + 0.5f), 0.0f, 15.0f));
    };
    Block block;
    block.d = FloatToHalf(d);
    block.m = FloatToHalf(lowest);
    for (int i = 0; i < 16; ++i) {
      block.q[i] = static_cast<uint8_t>(level(x[i]) | level(x[i + 16]) << 4);
    }
    Store(bytes + b * 20, block);
  }
}

// As Q4_0, with −m beside d: panels subtract what they call a minimum.
void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  constexpr uint16_t kSign = 0x8000;
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU4HalfMin, cols);
  ClearIfPartial(dst, PanelKind::kU4HalfMin, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      const Block block = Load<Block>(bytes + r * row_bytes + g * 20);
      PutNibbles(block.q, quants + g * 256, r);
      Store(scales + g * 64 + r * 2, block.d);
      Store(scales + g * 64 + 32 + r * 2, static_cast<uint16_t>(block.m ^ kSign));
    }
  }
}

}  // namespace

const QuantFormat kQ4_1Format = {DType::kQ4_1, Dequantize, Quantize, PanelKind::kU4HalfMin, Pack};

}  // namespace conclave::engine
