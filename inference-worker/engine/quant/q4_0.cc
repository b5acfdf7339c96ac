// Q4_0: 32 elements, y = d · (q − 8); byte j holds element j (low) and element j + 16 (high).
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
  uint8_t q[16];
};
static_assert(sizeof(Block) == 18);

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 32; ++b) {
    const Block block = Load<Block>(bytes + b * 18);
    const float d = HalfToFloat(block.d);
    for (int i = 0; i < 16; ++i) {
      dst[b * 32 + i] = d * static_cast<float>((block.q[i] & 15) - 8);
      dst[b * 32 + 16 + i] = d * static_cast<float>((block.q[i] >> 4) - 8);
    }
  }
}

// The element of largest magnitude becomes exactly −8: that end of the range has one more step.
void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* x = src + b * 32;
    float extreme = 0;
    for (int i = 0; i < 32; ++i) {
      if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
    }
    const float d = extreme / -8;
    const float inverse = d == 0 ? 0 : 1 / d;
    const auto level = [inverse](float value) {
      const float shifted = value * inverse + 8.5f;
      return static_cast<uint8_t>(std::clamp(std::trunc(shifted), 0.0f, 15.0f));
    };
    Block block;
    block.d = FloatToHalf(d);
    for (int i = 0; i < 16; ++i) {
      block.q[i] = static_cast<uint8_t>(level(x[i]) | level(x[i + 16]) << 4);
    }
    Store(bytes + b * 18, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU4, cols);
  ClearIfPartial(dst, PanelKind::kU4, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      const Block block = Load<Block>(bytes + r * row_bytes + g * 18);
      PutNibbles(block.q, quants + g * 256, r);
      Store(scales + (g * kPanelRows + r) * 2, block.d);
    }
  }
}

}  // namespace

const QuantFormat kQ4_0Format = {DType::kQ4_0, Dequantize, Quantize, PanelKind::kU4, Pack};

}  // namespace conclave::engine
