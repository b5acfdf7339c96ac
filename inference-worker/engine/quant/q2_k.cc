// Q2_K: 256 elements in 16 sub-blocks of 16, y = d·sc·q − dmin·m with a byte for each sub-block: sc
// in its low, m in its high nibble. Of each half (128), four runs of 32 share bytes: run k is the
// pair of bits at 2k.
#include "engine/quant/bits.h"
#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"
#include "engine/quant/search.h"

namespace conclave::engine {
namespace {

struct Block {
  uint8_t scales[16];
  uint8_t q[64];
  uint16_t d;
  uint16_t dmin;
};
static_assert(sizeof(Block) == 84);

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 256; ++b) {
    const Block block = Load<Block>(bytes + b * 84);
    const float d = HalfToFloat(block.d);
    const float dmin = HalfToFloat(block.dmin);
    for (int i = 0; i < 256; ++i) {
      const float scale = d * static_cast<float>(block.scales[i / 16] & 15);
      const float min = dmin * static_cast<float>(block.scales[i / 16] >> 4);
      const int level = (block.q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
      // Two roundings, as the reference has: never a fused multiply-add.
      const float product = scale * static_cast<float>(level);
      dst[b * 256 + i] = product - min;
    }
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 256; ++b) {
    SuperScalesMin found;
    FitSuperMin(src + b * 256, 3, 16, 15, found);
    Block block = {};
    block.d = found.d;
    block.dmin = found.dmin;
    for (int s = 0; s < 16; ++s) {
      block.scales[s] = static_cast<uint8_t>(found.scale[s] | found.min[s] << 4);
    }
    for (int i = 0; i < 256; ++i) {
      block.q[i / 128 * 32 + i % 32] |= static_cast<uint8_t>(found.level[i] << (i % 128 / 32 * 2));
    }
    Store(bytes + b * 84, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU2Min, cols);
  ClearIfPartial(dst, PanelKind::kU2Min, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < cols / 256; ++b) {
      const Block block = Load<Block>(bytes + r * row_bytes + b * 84);
      uint8_t* super = scales + b * 320;
      Store(super + r * 2, block.d);
      Store(super + 32 + r * 2, block.dmin);
      for (int s = 0; s < 16; ++s) super[64 + s * 16 + r] = block.scales[s];
      for (int g = 0; g < 8; ++g) {
        PutPairsOfBytes(block.q + g / 4 * 32, g % 4 * 2, quants + (b * 8 + g) * 128, r);
      }
    }
  }
}

}  // namespace

const QuantFormat kQ2_KFormat = {DType::kQ2_K, Dequantize, Quantize, PanelKind::kU2Min, Pack};

}  // namespace conclave::engine
