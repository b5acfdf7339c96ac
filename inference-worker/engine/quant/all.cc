// The array of formats: one row per format there is code for.
#include "engine/quant/format.h"
#include "engine/quant/formats.h"

namespace conclave::engine {
namespace {

const QuantFormat* const kFormats[] = {
    &kF32Format,  &kF16Format,    &kBF16Format,   &kQ4_0Format,  &kQ4_1Format, &kQ5_0Format,
    &kQ5_1Format, &kQ8_0Format,   &kQ2_KFormat,   &kQ3_KFormat,  &kQ4_KFormat, &kQ5_KFormat,
    &kQ6_KFormat, &kIQ4_NLFormat, &kIQ4_XSFormat, &kMXFP4Format,
};

}  // namespace

std::span<const QuantFormat* const> AllFormats() { return kFormats; }

const QuantFormat* FindFormat(DType dtype) {
  for (const QuantFormat* format : kFormats) {
    if (format->dtype == dtype) return format;
  }
  return nullptr;
}

}  // namespace conclave::engine
