#include "engine/models/blocks/norm.h"

namespace conclave::engine {

absl::StatusOr<RmsNorm> RmsNorm::Bind(Binder& binder, const std::string& name, int64_t n,
                                      float eps) {
  RmsNorm norm;
  ASSIGN_OR_RETURN(norm.weight_, binder.GetVector(name + ".weight", n));
  norm.eps_ = eps;
  return norm;
}

}  // namespace conclave::engine
