#include "engine/models/blocks/dense_ffn.h"

namespace conclave::engine {

absl::StatusOr<DenseFfn> DenseFfn::Bind(Binder& binder, Kernels& kernels, const HParams& h,
                                        const std::string& prefix) {
  DenseFfn ffn;
  ASSIGN_OR_RETURN(ffn.gate_,
                   BindPacked(binder, kernels, prefix + "ffn_gate.weight", {h.ffn, h.hidden}));
  ASSIGN_OR_RETURN(ffn.up_,
                   BindPacked(binder, kernels, prefix + "ffn_up.weight", {h.ffn, h.hidden}));
  ASSIGN_OR_RETURN(ffn.down_,
                   BindPacked(binder, kernels, prefix + "ffn_down.weight", {h.hidden, h.ffn}));
  return ffn;
}

void DenseFfn::Apply(Kernels& kernels, const HParams& h, const float* x, int64_t rows,
                     float* y) const {
  kernels.Ffn({.gate = &gate_, .up = &up_, .down = &down_, .activation = Activation::kSilu}, x,
              h.hidden, rows, y, h.hidden);
}

}  // namespace conclave::engine
