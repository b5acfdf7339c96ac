#include "engine/models/blocks/linear.h"

#include <vector>

namespace conclave::engine {

absl::StatusOr<PackedMatrix> BindPacked(Binder& binder, Kernels& kernels, const std::string& name,
                                        const Shape& shape) {
  ASSIGN_OR_RETURN(const TensorView view, binder.Get(name, shape));
  absl::StatusOr<PackedMatrix> packed = kernels.Pack(view);
  if (!packed.ok()) {
    return base::Annotate(packed.status(), std::string(binder.source().path()) + ": " + name);
  }
  binder.source().DoneWith(view);
  return packed;
}

absl::StatusOr<Linear> Linear::Bind(Binder& binder, Kernels& kernels, const std::string& name,
                                    int64_t out, int64_t in, BiasRule bias) {
  Linear linear;
  ASSIGN_OR_RETURN(linear.weight, BindPacked(binder, kernels, name + ".weight", Shape({out, in})));
  std::vector<float> values;
  if (bias == BiasRule::kRequired) {
    ASSIGN_OR_RETURN(values, binder.GetVector(name + ".bias", out));
  } else if (bias == BiasRule::kOptional) {
    ASSIGN_OR_RETURN(values, binder.GetOptionalVector(name + ".bias", out));
  }
  ASSIGN_OR_RETURN(linear.bias, kernels.PackVector(values));
  return linear;
}

}  // namespace conclave::engine
