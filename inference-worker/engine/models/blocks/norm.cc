#include "engine/models/blocks/norm.h"

#include <vector>

namespace conclave::engine {

absl::StatusOr<RmsNorm> RmsNorm::Bind(Binder& binder, Kernels& kernels, const std::string& name,
                                      int64_t n, float eps) {
  RmsNorm norm;
  ASSIGN_OR_RETURN(const std::vector<float> weight, binder.GetVector(name + ".weight", n));
  ASSIGN_OR_RETURN(norm.weight_, kernels.PackVector(weight));
  norm.n_ = n;
  norm.eps_ = eps;
  return norm;
}

}  // namespace conclave::engine
