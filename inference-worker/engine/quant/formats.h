// The rows of all.cc, defined one per file. Nobody else includes this: use AllFormats, FindFormat.
#pragma once

#include <cstring>

#include "engine/quant/format.h"

namespace conclave::engine {

// Rows that are missing are zeros: all levels and scales 0. A full panel is written over entirely.
inline void ClearIfPartial(void* panel, PanelKind kind, int64_t cols, int rows) {
  if (rows < kPanelRows) std::memset(panel, 0, static_cast<size_t>(PanelBytes(kind, cols)));
}

extern const QuantFormat kF32Format;
extern const QuantFormat kF16Format;
extern const QuantFormat kBF16Format;
extern const QuantFormat kQ4_0Format;
extern const QuantFormat kQ4_1Format;
extern const QuantFormat kQ5_0Format;
extern const QuantFormat kQ5_1Format;
extern const QuantFormat kQ8_0Format;
extern const QuantFormat kQ2_KFormat;
extern const QuantFormat kQ3_KFormat;
extern const QuantFormat kQ4_KFormat;
extern const QuantFormat kQ5_KFormat;
extern const QuantFormat kQ6_KFormat;
extern const QuantFormat kIQ4_NLFormat;
extern const QuantFormat kIQ4_XSFormat;
extern const QuantFormat kMXFP4Format;

}  // namespace conclave::engine
