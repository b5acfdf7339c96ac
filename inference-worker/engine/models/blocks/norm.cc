#include "engine/models/blocks/norm.h"

#include <vector>

namespace conclave::engine {

absl::StatusOr<Norm> Norm::Bind(Binder& binder, Kernels& kernels, const std::string& name,
                                int64_t n, float eps, NormKind kind) {
  Norm norm;
  ASSIGN_OR_RETURN(const std::vector<float> weight, binder.GetVector(name + ".weight", n));
  ASSIGN_OR_RETURN(norm.weight_, kernels.PackVector(weight));
  norm.n_ = n;
  norm.eps_ = eps;
  if (kind == NormKind::kRms) return norm;
  RETURN_IF_ERROR(kernels.Require(Feature::kLayerNorm));
  ASSIGN_OR_RETURN(const std::vector<float> bias, binder.GetVector(name + ".bias", n));
  ASSIGN_OR_RETURN(norm.bias_, kernels.PackVector(bias));
  return norm;
}

}  // namespace conclave::engine
