// Q8_0: 32 elements, y = d · q with int8 q and fp16 d.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

struct Block {
  uint16_t d;
  int8_t q[32];
};
static_assert(sizeof(Block) == 34);

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 32; ++b) {
    const Block block = Load<Block>(bytes + b * 34);
    const float d = HalfToFloat(block.d);
    for (int i = 0; i < 32; ++i) dst[b * 32 + i] = static_cast<float>(block.q[i]) * d;
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* x = src + b * 32;
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float d = largest / 127;
    const float inverse = d == 0 ? 0 : 1 / d;
    Block block;
    block.d = FloatToHalf(d);
    // A subnormal d may have an infinite inverse: clamped, so the conversion stays defined.
    for (int i = 0; i < 32; ++i) {
      block.q[i] = static_cast<int8_t>(std::clamp(std::round(x[i] * inverse), -127.0f, 127.0f));
    }
    Store(bytes + b * 34, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU8, cols);
  ClearIfPartial(dst, PanelKind::kU8, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      const Block block = Load<Block>(bytes + r * row_bytes + g * 34);
      for (int step = 0; step < 8; ++step) {
        const uint32_t signed_bytes = Load<uint32_t>(block.q + step * 4);
        Store(quants + g * 512 + step * 64 + r * 4, signed_bytes ^ 0x80808080u);
      }
      Store(scales + (g * kPanelRows + r) * 2, block.d);
    }
  }
}

}  // namespace

const QuantFormat kQ8_0Format = {DType::kQ8_0, Dequantize, Quantize, PanelKind::kU8, Pack};

}  // namespace conclave::engine
