// IQ4_XS: 256 elements in 8 groups of 32 with IQ4_NL's table, y = d · (ls − 32) · kNl4Values[q].
// The low four bits of ls lie two groups to a byte, the two high ones eight groups to a word.
#include <cstring>

#include "engine/quant/bits.h"
#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"
#include "engine/quant/search.h"

namespace conclave::engine {
namespace {

struct Block {
  uint16_t d;
  uint16_t scales_high;
  uint8_t scales_low[4];
  uint8_t q[8][16];
};
static_assert(sizeof(Block) == 136);

int8_t ScaleOf(const Block& block, int group) {
  const int low = block.scales_low[group / 2] >> (group % 2 * 4) & 15;
  const int high = block.scales_high >> (2 * group) & 3;
  return static_cast<int8_t>((low | high << 4) - 32);
}

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 256; ++b) {
    const Block block = Load<Block>(bytes + b * 136);
    const float d = HalfToFloat(block.d);
    for (int g = 0; g < 8; ++g) {
      const float scale = d * static_cast<float>(ScaleOf(block, g));
      float* y = dst + b * 256 + g * 32;
      for (int i = 0; i < 16; ++i) {
        y[i] = scale * static_cast<float>(kNl4Values[block.q[g][i] & 15]);
        y[16 + i] = scale * static_cast<float>(kNl4Values[block.q[g][i] >> 4]);
      }
    }
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 256; ++b) {
    SuperScales found;
    FitSuper(src + b * 256, Grid::Table(kNl4Values), 32, Grid::Range(-32, 31), found);
    Block block = {};
    block.d = found.d;
    for (int g = 0; g < 8; ++g) {
      const int bits = found.scale[g] + 32;
      block.scales_low[g / 2] |= static_cast<uint8_t>((bits & 15) << (g % 2 * 4));
      block.scales_high |= static_cast<uint16_t>((bits >> 4) << (2 * g));
      for (int i = 0; i < 32; ++i) {
        block.q[g][i % 16] |= static_cast<uint8_t>(found.index[g * 32 + i] << (i / 16 * 4));
      }
    }
    Store(bytes + b * 136, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kNl4Super, cols);
  ClearIfPartial(dst, PanelKind::kNl4Super, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < cols / 256; ++b) {
      const Block block = Load<Block>(bytes + r * row_bytes + b * 136);
      uint8_t* super = scales + b * 160;
      Store(super + r * 2, block.d);
      for (int g = 0; g < 8; ++g) {
        super[32 + g * 16 + r] = static_cast<uint8_t>(ScaleOf(block, g));
        PutNibbles(block.q[g], quants + (b * 8 + g) * 256, r);
      }
    }
  }
}

}  // namespace

const QuantFormat kIQ4_XSFormat = {DType::kIQ4_XS, Dequantize, Quantize, PanelKind::kNl4Super,
                                   Pack};

}  // namespace conclave::engine
