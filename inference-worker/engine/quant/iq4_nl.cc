// IQ4_NL: Q4_0's block with levels from a table, y = d · kNl4Values[q].
#include "engine/quant/bits.h"
#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"
#include "engine/quant/search.h"

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
      dst[b * 32 + i] = d * static_cast<float>(kNl4Values[block.q[i] & 15]);
      dst[b * 32 + 16 + i] = d * static_cast<float>(kNl4Values[block.q[i] >> 4]);
    }
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  constexpr Grid kGrid = Grid::Table(kNl4Values);
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* x = src + b * 32;
    Block block = {};
    block.d = FloatToHalf(FitScale(x, 32, kGrid));
    const float inverse = InverseOf(HalfToFloat(block.d));
    for (int i = 0; i < 32; ++i) {
      block.q[i % 16] |= static_cast<uint8_t>(kGrid.IndexOf(x[i] * inverse) << (i / 16 * 4));
    }
    Store(bytes + b * 18, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kNl4, cols);
  ClearIfPartial(dst, PanelKind::kNl4, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      const Block block = Load<Block>(bytes + r * row_bytes + g * 18);
      PutNibbles(block.q, quants + g * 256, r);
      Store(scales + g * 32 + r * 2, block.d);
    }
  }
}

}  // namespace

const QuantFormat kIQ4_NLFormat = {DType::kIQ4_NL, Dequantize, Quantize, PanelKind::kNl4, Pack};

}  // namespace conclave::engine
