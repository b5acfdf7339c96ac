// Q4_K: 256 elements in 8 groups of 32, y = d·sc·q − dmin·m with 6-bit sc and m per group. Each 32
// bytes of q hold two groups: the low nibbles the first, the high nibbles the second.
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
  uint8_t q[128];
};
static_assert(sizeof(Block) == 144);

uint8_t Nibble(const Block& block, int group, int i) {
  const uint8_t byte = block.q[group / 2 * 32 + i];
  return group % 2 == 0 ? byte & 15 : byte >> 4;
}

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 256; ++b) {
    const Block block = Load<Block>(bytes + b * 144);
    const float d = HalfToFloat(block.d);
    const float dmin = HalfToFloat(block.dmin);
    for (int g = 0; g < 8; ++g) {
      const ScaleMin sm = UnpackScale(block.scales, g);
      const float scale = d * static_cast<float>(sm.scale);
      const float min = dmin * static_cast<float>(sm.min);
      for (int i = 0; i < 32; ++i) {
        // Two roundings, as the reference has: never a fused multiply-add.
        const float product = scale * static_cast<float>(Nibble(block, g, i));
        dst[b * 256 + g * 32 + i] = product - min;
      }
    }
  }
}

void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 256; ++b) {
    SuperScalesMin found;
    FitSuperMin(src + b * 256, 15, 32, 63, found);
    Block block = {};
    block.d = found.d;
    block.dmin = found.dmin;
    for (int g = 0; g < 8; ++g) PackScale(block.scales, g, {found.scale[g], found.min[g]});
    for (int i = 0; i < 256; ++i) {
      const int g = i / 32;
      block.q[g / 2 * 32 + i % 32] |= static_cast<uint8_t>(found.level[i] << (g % 2 * 4));
    }
    Store(bytes + b * 144, block);
  }
}

// Four bytes at a time: a word of a pair of groups gives one word to each of them.
void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  constexpr uint32_t kLow = 0x0f0f0f0fu;
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kU4Min, cols);
  ClearIfPartial(dst, PanelKind::kU4Min, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < cols / 256; ++b) {
      const Block block = Load<Block>(bytes + r * row_bytes + b * 144);
      uint8_t* super = scales + b * (64 + 8 * 32);
      Store(super + r * 2, block.d);
      Store(super + 32 + r * 2, block.dmin);
      for (int g = 0; g < 8; ++g) {
        const ScaleMin sm = UnpackScale(block.scales, g);
        super[64 + g * 32 + r] = sm.scale;
        super[64 + g * 32 + 16 + r] = sm.min;
      }
      for (int pair = 0; pair < 4; ++pair) {
        uint8_t* group = quants + (b * 8 + pair * 2) * 256 + r * 4;
        for (int j = 0; j < 4; ++j) {
          const uint32_t first = Load<uint32_t>(block.q + pair * 32 + j * 4);
          const uint32_t second = Load<uint32_t>(block.q + pair * 32 + 16 + j * 4);
          Store(group + j * 64, (first & kLow) | (second & kLow) << 4);
          Store(group + 256 + j * 64, ((first >> 4) & kLow) | (second & ~kLow));
        }
      }
    }
  }
}

}  // namespace

const QuantFormat kQ4_KFormat = {DType::kQ4_K, Dequantize, Quantize, PanelKind::kU4Min, Pack};

}  // namespace conclave::engine
