// The rows of all.cc, defined one per file. Nobody else includes this: use AllFormats, FindFormat.
#pragma once

#include "engine/quant/format.h"

namespace conclave::engine {

extern const QuantFormat kF32Format;
extern const QuantFormat kF16Format;
extern const QuantFormat kBF16Format;
extern const QuantFormat kQ4_0Format;
extern const QuantFormat kQ8_0Format;
extern const QuantFormat kQ4_KFormat;
extern const QuantFormat kQ6_KFormat;

}  // namespace conclave::engine
