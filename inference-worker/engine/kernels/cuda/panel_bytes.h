// Sizes of the GPU's panels (panels.h). A leaf header: the CUDA module includes it too.
#pragma once

#include <cstdint>

#include "engine/quant/panel.h"

namespace conclave::engine {

// Of the first plane.
constexpr int64_t CudaQuantBytes(PanelKind kind, int64_t in) {
  switch (kind) {
    case PanelKind::kF32:
      return (in + 3) / 4 * 256;
    case PanelKind::kF16:
    case PanelKind::kBF16:
      return (in + 7) / 8 * 256;
    default:
      return PanelQuantBytes(kind, in);
  }
}

// Of a whole panel.
constexpr int64_t CudaPanelBytes(PanelKind kind, int64_t in) {
  return (CudaQuantBytes(kind, in) + PanelScaleBytes(kind, in) + 63) / 64 * 64;
}

}  // namespace conclave::engine
