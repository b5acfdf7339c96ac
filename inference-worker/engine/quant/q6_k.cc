// Q6_K: 256 elements, y = d·sc·(q − 32) with an int8 sc per 16 elements. Of each half (128), four
// runs of 32 share bytes: low nibbles of ql, then high nibbles, with two more bits each in qh.
#include <cstring>

#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"
#include "engine/quant/search.h"

namespace conclave::engine {
namespace {

struct Block {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};
static_assert(sizeof(Block) == 210);

// The six unsigned bits of element i of the block.
int Level(const Block& block, int i) {
  const int half = i / 128;
  const int run = i % 128 / 32;  // 0..3
  const int l = i % 32;
  const uint8_t low = block.ql[half * 64 + run % 2 * 32 + l];
  const uint8_t high = block.qh[half * 32 + l];
  return (run < 2 ? low & 15 : low >> 4) | ((high >> (2 * run)) & 3) << 4;
}

void SetLevel(Block& block, int i, int level) {
  const int half = i / 128;
  const int run = i % 128 / 32;
  const int l = i % 32;
  block.ql[half * 64 + run % 2 * 32 + l] |= static_cast<uint8_t>((level & 15) << (run < 2 ? 0 : 4));
  block.qh[half * 32 + l] |= static_cast<uint8_t>((level >> 4) << (2 * run));
}

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 256; ++b) {
    const Block block = Load<Block>(bytes + b * 210);
    const float d = HalfToFloat(block.d);
    for (int i = 0; i < 256; ++i) {
      const float scale = d * static_cast<float>(block.scales[i / 16]);
      dst[b * 256 + i] = scale * static_cast<float>(Level(block, i) - 32);
    }
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 256; ++b) {
    SuperScales found;
    FitSuper(src + b * 256, Grid::Range(-32, 31), 16, Grid::Range(-128, 127), found);
    Block block = {};
    block.d = found.d;
    std::memcpy(block.scales, found.scale, sizeof block.scales);
    for (int i = 0; i < 256; ++i) SetLevel(block, i, found.index[i]);
    Store(bytes + b * 210, block);
  }
}

// Four bytes at a time: words of nibbles meet in pairs, words of bit pairs in fours.
void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU6, cols);
  ClearIfPartial(dst, PanelKind::kU6, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < cols / 256; ++b) {
      const Block block = Load<Block>(bytes + r * row_bytes + b * 210);
      uint8_t* super = scales + b * (32 + 8 * 32);
      Store(super + r * 2, block.d);
      for (int s = 0; s < 16; ++s) {
        super[32 + s * 16 + r] = static_cast<uint8_t>(block.scales[s]);
      }
      for (int g = 0; g < 8; ++g) {
        const int run = g % 4;
        const uint8_t* low = block.ql + g / 4 * 64 + run % 2 * 32;
        const uint8_t* high = block.qh + g / 4 * 32;
        uint8_t* group = quants + (b * 8 + g) * 384 + r * 4;
        uint32_t pairs[2] = {};
        uint32_t nibbles[8];
        for (int step = 0; step < 8; ++step) {
          nibbles[step] = (Load<uint32_t>(low + step * 4) >> (run < 2 ? 0 : 4)) & 0x0f0f0f0fu;
          const uint32_t pair = (Load<uint32_t>(high + step * 4) >> (2 * run)) & 0x03030303u;
          pairs[step / 4] |= pair << (step % 4 * 2);
        }
        for (int j = 0; j < 4; ++j) Store(group + j * 64, nibbles[j] | nibbles[j + 4] << 4);
        Store(group + 256, pairs[0]);
        Store(group + 320, pairs[1]);
      }
    }
  }
}

}  // namespace

const QuantFormat kQ6_KFormat = {DType::kQ6_K, Dequantize, Quantize, PanelKind::kU6, Pack};

}  // namespace conclave::engine
