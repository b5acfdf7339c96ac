// Q5_0: 32 elements, y = d · (q − 16); byte j holds the low four bits of element j (low) and
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
  uint8_t high[4];  // 32 bits, where alignment would not allow a word
  uint8_t q[16];
};
static_assert(sizeof(Block) == 22);

// The five unsigned bits of element i.
int Level(const Block& block, uint32_t high, int i) {
  const int low = i < 16 ? block.q[i] & 15 : block.q[i - 16] >> 4;
  return low | static_cast<int>((high >> i) & 1) << 4;
}

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 32; ++b) {
    const Block block = Load<Block>(bytes + b * 22);
    const auto high = Load<uint32_t>(block.high);
    const float d = HalfToFloat(block.d);
    for (int i = 0; i < 32; ++i) {
      dst[b * 32 + i] = d * static_cast<float>(Level(block, high, i) - 16);
    }
  }
}

// The element of largest magnitude becomes exactly −16: that end of the range has one more step.
void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* x = src + b * 32;
    float extreme = 0;
    for (int i = 0; i < 32; ++i) {
      if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
    }
    const float d = extreme / -16;
    const float inverse = d == 0 ? 0 : 1 / d;
    Block block = {};
    block.d = FloatToHalf(d);
    uint32_t high = 0;
    for (int i = 0; i < 32; ++i) {
      const float shifted = x[i] * inverse + 16.5f;
      const auto level = static_cast<uint32_t>(std::clamp(std::trunc(shifted), 0.0f, 31.0f));
      block.q[i % 16] |= static_cast<uint8_t>((level & 15) << (i / 16 * 4));
      high |= (level >> 4) << i;
    }
    Store(block.high, high);
    Store(bytes + b * 22, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU5, cols);
  ClearIfPartial(dst, PanelKind::kU5, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      const Block block = Load<Block>(bytes + r * row_bytes + g * 22);
      PutNibbles(block.q, quants + g * 320, r);
      PutBits(Load<uint32_t>(block.high), quants + g * 320 + 256, r);
      Store(scales + g * 32 + r * 2, block.d);
    }
  }
}

}  // namespace

const QuantFormat kQ5_0Format = {DType::kQ5_0, Dequantize, Quantize, PanelKind::kU5, Pack};

}  // namespace conclave::engine
