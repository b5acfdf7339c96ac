// Q5_1: 32 elements, y = d · q + m; byte j holds the low four bits of element j (low) and
// element j + 16 (high), bit i of `high` the fifth of element i.
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
  uint8_t high[4];  // 32 bits, where alignment would not allow a word
  uint8_t q[16];
};
static_assert(sizeof(Block) == 24);

// The five unsigned bits of element i.
int Level(const Block& block, uint32_t high, int i) {
  const int low = i < 16 ? block.q[i] & 15 : block.q[i - 16] >> 4;
  return low | static_cast<int>((high >> i) & 1) << 4;
}

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 32; ++b) {
    const Block block = Load<Block>(bytes + b * 24);
    const auto high = Load<uint32_t>(block.high);
    const float d = HalfToFloat(block.d);
    const float m = HalfToFloat(block.m);
    for (int i = 0; i < 32; ++i) {
      // Two roundings, as the reference has: never a fused multiply-add.
      const float product = d * static_cast<float>(Level(block, high, i));
      dst[b * 32 + i] = product + m;
    }
  }
}

// The smallest element becomes level 0, the largest level 31.
void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* x = src + b * 32;
    const auto [min, max] = std::minmax_element(x, x + 32);
    const float lowest = *min;
    const float d = (*max - lowest) / 31;
    const float inverse = d == 0 ? 0 : 1 / d;
    Block block = {};
    block.d = FloatToHalf(d);
    block.m = FloatToHalf(lowest);
    uint32_t high = 0;
    for (int i = 0; i < 32; ++i) {
      const float shifted = (x[i] - lowest) * inverse;
      const auto level = static_cast<uint32_t>(std::clamp(std::trunc(shifted + 0.5f), 0.0f, 31.0f));
      block.q[i % 16] |= static_cast<uint8_t>((level & 15) << (i / 16 * 4));
      high |= (level >> 4) << i;
    }
    Store(block.high, high);
    Store(bytes + b * 24, block);
  }
}

// −m beside d: panels subtract what they call a minimum.
void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  constexpr uint16_t kSign = 0x8000;
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU5HalfMin, cols);
  ClearIfPartial(dst, PanelKind::kU5HalfMin, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      const Block block = Load<Block>(bytes + r * row_bytes + g * 24);
      PutNibbles(block.q, quants + g * 320, r);
      PutBits(Load<uint32_t>(block.high), quants + g * 320 + 256, r);
      Store(scales + g * 64 + r * 2, block.d);
      Store(scales + g * 64 + 32 + r * 2, static_cast<uint16_t>(block.m ^ kSign));
    }
  }
}

}  // namespace

const QuantFormat kQ5_1Format = {DType::kQ5_1, Dequantize, Quantize, PanelKind::kU5HalfMin, Pack};

}  // namespace conclave::engine
