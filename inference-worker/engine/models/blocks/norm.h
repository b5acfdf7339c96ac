// The norm of a row with its weight: RMS, or LayerNorm with a bias.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/weights/binder.h"

namespace conclave::engine {

enum class NormKind { kRms, kLayer };

class Norm final {
 public:
  // `name` without ".weight" and ".bias"; n elements.
  static absl::StatusOr<Norm> Bind(Binder& binder, Kernels& kernels, const std::string& name,
                                   int64_t n, float eps, NormKind kind = NormKind::kRms);

  // Rows of n elements, row_stride apart; y may be x.
  void Apply(Kernels& kernels, const float* x, int64_t x_stride, int64_t rows, float* y,
             int64_t y_stride) const {
    if (bias_.size() == 0) {
      kernels.RmsNorm(x, x_stride, rows, n_, weight_.as<float>(), eps_, y, y_stride);
    } else {
      kernels.LayerNorm(x, x_stride, rows, n_, weight_.as<float>(), bias_.as<float>(), eps_, y,
                        y_stride);
    }
  }

 private:
  Buffer weight_;  // [n], where the kernels read it
  Buffer bias_;    // of a LayerNorm
  int64_t n_ = 0;
  float eps_ = 0;
};

}  // namespace conclave::engine
