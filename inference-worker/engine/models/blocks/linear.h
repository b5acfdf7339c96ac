// A weight matrix on its way from the file into panels, with its bias.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/weights/binder.h"

namespace conclave::engine {

enum class BiasRule { kNone, kOptional, kRequired };

struct Linear {
  PackedMatrix weight;
  Buffer bias;  // empty or [out] floats, where the kernels read them

  // `name` without ".weight": [out][in].
  static absl::StatusOr<Linear> Bind(Binder& binder, Kernels& kernels, const std::string& name,
                                     int64_t out, int64_t in, BiasRule bias);

  // y = x · weightᵀ + bias into rows of y_stride.
  MatmulOutput To(float* y, int64_t y_stride) const {
    return {.weight = &weight, .bias = bias.as<float>(), .y = y, .y_stride = y_stride};
  }
  int64_t bytes() const { return weight.bytes(); }
};

// Packs a matrix or a stack of them and lets the pages of the file go.
absl::StatusOr<PackedMatrix> BindPacked(Binder& binder, Kernels& kernels, const std::string& name,
                                        const Shape& shape);
// The same with a name for messages and bytes that are not the file's, or not yet.
absl::StatusOr<PackedMatrix> PackAs(Binder& binder, Kernels& kernels, const std::string& name,
                                    const TensorView& view);
// The biases of a layer or of a stack of them, where the kernels read them; empty when there are
// none and the rule allows it.
absl::StatusOr<Buffer> BindBias(Binder& binder, Kernels& kernels, const std::string& name,
                                const Shape& shape, BiasRule rule);

}  // namespace conclave::engine
