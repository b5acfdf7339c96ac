// Q3_K: 256 elements, y = d·sc·(q − 4) with a 6-bit sc per 16 elements, stored plus 32. The low two
// bits of q lie as in Q2_K; bit g of byte i of `high` is the third of element i of group g (of 32).
#include <cstring>

#include "engine/quant/bits.h"
#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"
#include "engine/quant/search.h"

namespace conclave::engine {
namespace {

struct Block {
  uint8_t high[32];
  uint8_t q[64];
  uint8_t scales[12];
  uint16_t d;
};
static_assert(sizeof(Block) == 110);

// Low nibbles of bytes 0..7 for sub-blocks 0..7, high ones for 8..15; bytes 8..11 hold the two bits
// on top, those of sub-blocks j, j + 4, j + 8, j + 12 in byte 8 + j from the lowest on.
int8_t UnpackScale(const uint8_t* s, int sub_block) {
  const int low = s[sub_block % 8] >> (sub_block / 8 * 4) & 15;
  const int high = s[8 + sub_block % 4] >> (sub_block / 4 * 2) & 3;
  return static_cast<int8_t>((low | high << 4) - 32);
}

void PackScale(uint8_t* s, int sub_block, int8_t scale) {
  const int bits = scale + 32;
  s[sub_block % 8] |= static_cast<uint8_t>((bits & 15) << (sub_block / 8 * 4));
  s[8 + sub_block % 4] |= static_cast<uint8_t>((bits >> 4) << (sub_block / 4 * 2));
}

// The three unsigned bits of element i of the block.
int Level(const Block& block, int i) {
  const int low = block.q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
  return low | (block.high[i % 32] >> (i / 32) & 1) << 2;
}

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 256; ++b) {
    const Block block = Load<Block>(bytes + b * 110);
    const float d = HalfToFloat(block.d);
    for (int i = 0; i < 256; ++i) {
      const float scale = d * static_cast<float>(UnpackScale(block.scales, i / 16));
      dst[b * 256 + i] = scale * static_cast<float>(Level(block, i) - 4);
    }
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 256; ++b) {
    SuperScales found;
    FitSuper(src + b * 256, Grid::Range(-4, 3), 16, Grid::Range(-32, 31), found);
    Block block = {};
    block.d = found.d;
    for (int s = 0; s < 16; ++s) PackScale(block.scales, s, found.scale[s]);
    for (int i = 0; i < 256; ++i) {
      const int level = found.index[i];
      block.q[i / 128 * 32 + i % 32] |= static_cast<uint8_t>((level & 3) << (i % 128 / 32 * 2));
      block.high[i % 32] |= static_cast<uint8_t>((level >> 2) << (i / 32));
    }
    Store(bytes + b * 110, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU3, cols);
  ClearIfPartial(dst, PanelKind::kU3, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < cols / 256; ++b) {
      const Block block = Load<Block>(bytes + r * row_bytes + b * 110);
      uint8_t* super = scales + b * 288;
      Store(super + r * 2, block.d);
      for (int s = 0; s < 16; ++s) {
        super[32 + s * 16 + r] = static_cast<uint8_t>(UnpackScale(block.scales, s));
      }
      for (int g = 0; g < 8; ++g) {
        uint8_t* group = quants + (b * 8 + g) * 192;
        PutPairsOfBytes(block.q + g / 4 * 32, g % 4 * 2, group, r);
        PutBitsOfBytes(block.high, g, group + 128, r);
      }
    }
  }
}

}  // namespace

const QuantFormat kQ3_KFormat = {DType::kQ3_K, Dequantize, Quantize, PanelKind::kU3, Pack};

}  // namespace conclave::engine
