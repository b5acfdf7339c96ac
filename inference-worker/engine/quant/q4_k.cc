// Q4_K: 256 elements in 8 groups of 32, y = d·sc·q − dmin·m with 6-bit sc and m per group. Each 32
// bytes of q hold two groups: the low nibbles the first, the high nibbles the second.
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
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t q[128];
};
static_assert(sizeof(Block) == 144);

struct ScaleMin {
  uint8_t scale;
  uint8_t min;
};

// Groups 0..3 have theirs in the low six bits of bytes 0..3 and 4..7; groups 4..7 have four bits
// in bytes 8..11 and the two high ones on top of the former.
ScaleMin UnpackScale(const uint8_t* s, int group) {
  if (group < 4)
    return {static_cast<uint8_t>(s[group] & 63), static_cast<uint8_t>(s[group + 4] & 63)};
  return {static_cast<uint8_t>((s[group + 4] & 15) | (s[group - 4] >> 6) << 4),
          static_cast<uint8_t>((s[group + 4] >> 4) | (s[group] >> 6) << 4)};
}

void PackScale(uint8_t* s, int group, ScaleMin value) {
  if (group < 4) {
    s[group] = static_cast<uint8_t>((s[group] & 0xc0) | value.scale);
    s[group + 4] = static_cast<uint8_t>((s[group + 4] & 0xc0) | value.min);
    return;
  }
  s[group + 4] = static_cast<uint8_t>((value.scale & 15) | (value.min & 15) << 4);
  s[group - 4] = static_cast<uint8_t>((s[group - 4] & 63) | (value.scale >> 4) << 6);
  s[group] = static_cast<uint8_t>((s[group] & 63) | (value.min >> 4) << 6);
}

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

// Plain min–max per group. Quantisers that search for better scales exist; files come from those,
// tests and synthetic models from this.
void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 256; ++b) {
    float range[8];
    float low[8];
    float range_max = 0;
    float low_max = 0;
    for (int g = 0; g < 8; ++g) {
      const float* x = src + b * 256 + g * 32;
      const auto [min, max] = std::minmax_element(x, x + 32);
      low[g] = std::max(0.0f, -*min);
      range[g] = std::max(0.0f, *max + low[g]) / 15;
      range_max = std::max(range_max, range[g]);
      low_max = std::max(low_max, low[g]);
    }
    Block block = {};
    block.d = FloatToHalf(range_max / 63);
    block.dmin = FloatToHalf(low_max / 63);
    const float d = HalfToFloat(block.d);
    const float dmin = HalfToFloat(block.dmin);
    for (int g = 0; g < 8; ++g) {
      const auto six_bits = [](float value, float unit) {
        return static_cast<uint8_t>(unit == 0 ? 0
                                              : std::clamp(std::round(value / unit), 0.0f, 63.0f));
      };
      const ScaleMin sm = {six_bits(range[g], d), six_bits(low[g], dmin)};
      PackScale(block.scales, g, sm);
      const float scale = d * static_cast<float>(sm.scale);
      const float min = dmin * static_cast<float>(sm.min);
      for (int i = 0; i < 32; ++i) {
        const float x = src[b * 256 + g * 32 + i];
        const float level = scale == 0 ? 0 : std::clamp(std::round((x + min) / scale), 0.0f, 15.0f);
        block.q[g / 2 * 32 + i] |= static_cast<uint8_t>(static_cast<int>(level) << (g % 2 * 4));
      }
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
