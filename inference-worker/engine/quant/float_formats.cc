// F32, F16 and BF16: one element per block, panels are the transposed rows.
#include <cstring>

#include "engine/quant/format.h"
#include "engine/quant/formats.h"
#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

void DequantizeF32(const void* src, float* dst, int64_t n) {
  std::memcpy(dst, src, static_cast<size_t>(n) * 4);
}
void QuantizeF32(const float* src, void* dst, int64_t n) {
  std::memcpy(dst, src, static_cast<size_t>(n) * 4);
}

template <float (*kConvert)(uint16_t)>
void Dequantize16(const void* src, float* dst, int64_t n) {
  const char* bytes = static_cast<const char*>(src);
  for (int64_t i = 0; i < n; ++i) dst[i] = kConvert(Load<uint16_t>(bytes + 2 * i));
}
template <uint16_t (*kConvert)(float)>
void Quantize16(const float* src, void* dst, int64_t n) {
  char* bytes = static_cast<char*>(dst);
  for (int64_t i = 0; i < n; ++i) Store<uint16_t>(bytes + 2 * i, kConvert(src[i]));
}

// [rows][cols] → [cols][16]
template <typename Element>
void PackTransposed(const void* src, int64_t row_bytes, int rows, int64_t cols, void* dst) {
  const char* bytes = static_cast<const char*>(src);
  Element* panel = static_cast<Element*>(dst);
  std::memset(panel, 0, static_cast<size_t>(cols) * kPanelRows * sizeof(Element));
  for (int r = 0; r < rows; ++r) {
    const char* row = bytes + r * row_bytes;
    for (int64_t k = 0; k < cols; ++k) {
      panel[k * kPanelRows + r] = Load<Element>(row + k * static_cast<int64_t>(sizeof(Element)));
    }
  }
}

}  // namespace

const QuantFormat kF32Format = {DType::kF32, DequantizeF32, QuantizeF32, PanelKind::kF32,
                                PackTransposed<uint32_t>};
const QuantFormat kF16Format = {DType::kF16, Dequantize16<HalfToFloat>, Quantize16<FloatToHalf>,
                                PanelKind::kF16, PackTransposed<uint16_t>};
const QuantFormat kBF16Format = {DType::kBF16, Dequantize16<Bf16ToFloat>, Quantize16<FloatToBf16>,
                                 PanelKind::kBF16, PackTransposed<uint16_t>};

}  // namespace conclave::engine
