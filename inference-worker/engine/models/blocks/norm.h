// RMS norm with its weight.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/weights/binder.h"

namespace conclave::engine {

class RmsNorm final {
 public:
  // `name` without ".weight"; n elements.
  static absl::StatusOr<RmsNorm> Bind(Binder& binder, Kernels& kernels, const std::string& name,
                                      int64_t n, float eps);

  // Rows of n elements, row_stride apart; y may be x.
  void Apply(Kernels& kernels, const float* x, int64_t x_stride, int64_t rows, float* y,
             int64_t y_stride) const {
    kernels.RmsNorm(x, x_stride, rows, n_, weight_.as<float>(), eps_, y, y_stride);
  }

 private:
  Buffer weight_;  // [n], where the kernels read it
  int64_t n_ = 0;
  float eps_ = 0;
};

}  // namespace conclave::engine
