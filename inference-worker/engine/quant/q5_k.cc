// Q5_K: Q4_K with a fifth bit: bit g of byte i of `high` belongs to element i of group g.
#include "engine/quant/bits.h"
#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"
#include "engine/quant/k_scales.h"
#include "engine/quant/search.h"

namespace conclave::engine {
namespace {

struct Block {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t q[128];
};
static_assert(sizeof(Block) == 176);

// The five unsigned bits of element i of a group.
int Level(const Block& block, int group, int i) {
  const uint8_t byte = block.q[group / 2 * 32 + i];
  return (group % 2 == 0 ? byte & 15 : byte >> 4) | ((block.high[i] >> group) & 1) << 4;
}

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 256; ++b) {
    const Block block = Load<Block>(bytes + b * 176);
    const float d = HalfToFloat(block.d);
    const float dmin = HalfToFloat(block.dmin);
    for (int g = 0; g < 8; ++g) {
      const ScaleMin sm = UnpackScale(block.scales, g);
      const float scale = d * static_cast<float>(sm.scale);
      const float min = dmin * static_cast<float>(sm.min);
      for (int i = 0; i < 32; ++i) {
        // Two roundings, as the reference has: never a fused multiply-add.
        const float product = scale * static_cast<float>(Level(block, g, i));
        dst[b * 256 + g * 32 + i] = product - min;
      }
    }
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 256; ++b) {
    SuperScalesMin found;
    FitSuperMin(src + b * 256, 31, 32, 63, found);
    Block block = {};
    block.d = found.d;
    block.dmin = found.dmin;
    for (int g = 0; g < 8; ++g) PackScale(block.scales, g, {found.scale[g], found.min[g]});
    for (int i = 0; i < 256; ++i) {
      const int g = i / 32;
      const int level = found.level[i];
      block.q[g / 2 * 32 + i % 32] |= static_cast<uint8_t>((level & 15) << (g % 2 * 4));
      block.high[i % 32] |= static_cast<uint8_t>((level >> 4) << g);
    }
    Store(bytes + b * 176, block);
  }
}

// Nibbles four bytes at a time: a word of a pair of groups gives one word to each of them.
void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  constexpr uint32_t kLow = 0x0f0f0f0fu;
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU5Min, cols);
  ClearIfPartial(dst, PanelKind::kU5Min, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < cols / 256; ++b) {
      const Block block = Load<Block>(bytes + r * row_bytes + b * 176);
      uint8_t* super = scales + b * 320;
      Store(super + r * 2, block.d);
      Store(super + 32 + r * 2, block.dmin);
      for (int g = 0; g < 8; ++g) {
        const ScaleMin sm = UnpackScale(block.scales, g);
        super[64 + g * 32 + r] = sm.scale;
        super[64 + g * 32 + 16 + r] = sm.min;
        uint8_t* group = quants + (b * 8 + g) * 320;
        const uint8_t* q = block.q + g / 2 * 32;
        const int shift = g % 2 * 4;
        for (int j = 0; j < 4; ++j) {
          const uint32_t first = (Load<uint32_t>(q + j * 4) >> shift) & kLow;
          const uint32_t second = (Load<uint32_t>(q + 16 + j * 4) >> shift) & kLow;
          Store(group + j * 64 + r * 4, first | second << 4);
        }
        PutBitsOfBytes(block.high, g, group + 256, r);
      }
    }
  }
}

}  // namespace

const QuantFormat kQ5_KFormat = {DType::kQ5_K, Dequantize, Quantize, PanelKind::kU5Min, Pack};

}  // namespace conclave::engine
