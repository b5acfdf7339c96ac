// MXFP4: 32 elements of E2M1 with an E8M0 scale, y = 2^(e − 128) · kFp4Values[q] (OCP Microscaling
// Formats v1.0; the table holds the doubled values). Byte j holds element j (low) and element
// j + 16 (high).
#include <algorithm>
#include <cmath>

#include "engine/quant/bits.h"
#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

struct Block {
  uint8_t e;
  uint8_t q[16];
};
static_assert(sizeof(Block) == 17);

void Dequantize(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t b = 0; b < n / 32; ++b) {
    const Block block = Load<Block>(bytes + b * 17);
    const float d = HalfOfE8m0(block.e);
    for (int i = 0; i < 16; ++i) {
      dst[b * 32 + i] = d * static_cast<float>(kFp4Values[block.q[i] & 15]);
      dst[b * 32 + 16 + i] = d * static_cast<float>(kFp4Values[block.q[i] >> 4]);
    }
  }
}

// The first of the nearest values.
int Nearest(float x, float d) {
  int best = 0;
  float least = INFINITY;
  for (int i = 0; i < 16; ++i) {
    const float error = std::fabs(d * static_cast<float>(kFp4Values[i]) - x);
    if (error < least) {
      least = error;
      best = i;
    }
  }
  return best;
}

// The largest element's power of two becomes the 4 of E2M1, whose own exponent is at most 2.
void Quantize(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* x = src + b * 32;
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
    Block block = {};
    if (largest > 0) {
      const float exponent = std::floor(std::log2(largest)) - 2 + 127;
      block.e = static_cast<uint8_t>(std::clamp(exponent, 0.0f, 254.0f));
    }
    const float d = HalfOfE8m0(block.e);
    for (int i = 0; i < 32; ++i) {
      block.q[i % 16] |= static_cast<uint8_t>(Nearest(x[i], d) << (i / 16 * 4));
    }
    Store(bytes + b * 17, block);
  }
}

void Pack(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  uint8_t* quants = static_cast<uint8_t*>(dst);
  uint8_t* scales = quants + PanelQuantBytes(PanelKind::kFp4, cols);
  ClearIfPartial(dst, PanelKind::kFp4, cols, rows);
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      const Block block = Load<Block>(bytes + r * row_bytes + g * 17);
      PutNibbles(block.q, quants + g * 256, r);
      scales[g * 16 + r] = block.e;
    }
  }
}

}  // namespace

const QuantFormat kMXFP4Format = {DType::kMXFP4, Dequantize, Quantize, PanelKind::kFp4, Pack};

}  // namespace conclave::engine
