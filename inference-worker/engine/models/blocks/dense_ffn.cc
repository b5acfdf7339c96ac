#include "engine/models/blocks/dense_ffn.h"

namespace conclave::engine {

absl::StatusOr<DenseFfn> DenseFfn::Bind(Binder& binder, Kernels& kernels, const HParams& h,
                                        const DecoderTraits& traits, const std::string& prefix,
                                        int64_t ffn, const std::string& suffix) {
  const auto bind = [&](const char* part, int64_t out, int64_t in) {
    return Linear::Bind(binder, kernels, prefix + part + suffix, out, in,
                        traits.gated_ffn ? BiasRule::kNone : BiasRule::kRequired);
  };
  DenseFfn dense;
  dense.activation_ = traits.activation;
  if (traits.gated_ffn) {
    ASSIGN_OR_RETURN(dense.gate_, bind("ffn_gate", ffn, h.hidden));
  } else {
    RETURN_IF_ERROR(kernels.Require(Feature::kPlainFfn));
    RETURN_IF_ERROR(kernels.Require(Feature::kFfnBias));
  }
  ASSIGN_OR_RETURN(dense.up_, bind("ffn_up", ffn, h.hidden));
  ASSIGN_OR_RETURN(dense.down_, bind("ffn_down", h.hidden, ffn));
  return dense;
}

}  // namespace conclave::engine
