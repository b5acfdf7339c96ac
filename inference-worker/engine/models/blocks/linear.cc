#include "engine/models/blocks/linear.h"

#include <vector>

namespace conclave::engine {

absl::StatusOr<PackedMatrix> PackAs(Binder& binder, Kernels& kernels, const std::string& name,
                                    const TensorView& view) {
  absl::StatusOr<PackedMatrix> packed = kernels.Pack(view);
  if (!packed.ok()) {
    return base::Annotate(packed.status(), std::string(binder.source().path()) + ": " + name);
  }
  return packed;
}

absl::StatusOr<PackedMatrix> BindPacked(Binder& binder, Kernels& kernels, const std::string& name,
                                        const Shape& shape) {
  ASSIGN_OR_RETURN(const TensorView view, binder.Get(name, shape));
  ASSIGN_OR_RETURN(PackedMatrix packed, PackAs(binder, kernels, name, view));
  binder.source().DoneWith(view);
  return packed;
}

absl::StatusOr<Buffer> BindBias(Binder& binder, Kernels& kernels, const std::string& name,
                                const Shape& shape, BiasRule rule) {
  if (rule == BiasRule::kNone) return Buffer();
  ASSIGN_OR_RETURN(const std::vector<float> values, binder.GetOptionalValues(name, shape));
  if (values.empty() && rule == BiasRule::kRequired) return binder.Get(name, shape).status();
  return kernels.PackVector(values);
}

absl::StatusOr<Linear> Linear::Bind(Binder& binder, Kernels& kernels, const std::string& name,
                                    int64_t out, int64_t in, BiasRule bias) {
  Linear linear;
  ASSIGN_OR_RETURN(linear.weight, BindPacked(binder, kernels, name + ".weight", Shape({out, in})));
  ASSIGN_OR_RETURN(linear.bias, BindBias(binder, kernels, name + ".bias", Shape({out}), bias));
  return linear;
}

}  // namespace conclave::engine
