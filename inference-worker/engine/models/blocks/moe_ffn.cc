#include "engine/models/blocks/moe_ffn.h"

#include <algorithm>

namespace conclave::engine {
namespace {

// [1][hidden], which many files have as a vector.
absl::StatusOr<Linear> BindSharedGate(Binder& binder, Kernels& kernels, const std::string& name,
                                      int64_t hidden) {
  const TensorEntry* const entry = binder.source().FindTensor(name);
  const bool vector = entry != nullptr && entry->view.shape.rank() == 1;
  ASSIGN_OR_RETURN(TensorView view,
                   binder.Get(name, vector ? Shape({hidden}) : Shape({1, hidden})));
  view.shape = Shape({1, hidden});
  Linear gate;
  ASSIGN_OR_RETURN(gate.weight, PackAs(binder, kernels, name, view));
  return gate;
}

absl::Status RequireAll(const Kernels& kernels, const HParams& h, const DecoderTraits& traits) {
  const RouterParams& router = h.router;
  if (traits.selection_bias != BiasRule::kNone || router.score != RouterScore::kSoftmax ||
      router.num_groups_used < router.num_groups || router.scale != 1) {
    RETURN_IF_ERROR(kernels.Require(Feature::kGeneralRouter));
  }
  if (traits.expert_bias != BiasRule::kNone) RETURN_IF_ERROR(kernels.Require(Feature::kFfnBias));
  if (traits.activation == Activation::kSwigluOai) {
    RETURN_IF_ERROR(kernels.Require(Feature::kSwigluOai));
  }
  if (traits.shared_gate) RETURN_IF_ERROR(kernels.Require(Feature::kGatedAdd));
  return absl::OkStatus();
}

}  // namespace

int64_t MoeScratch::Bytes(const HParams& h, int64_t rows) {
  if (h.num_experts == 0) return 0;
  return Arena::Bytes<float>(rows * h.num_experts) +
         Arena::Bytes<int32_t>(rows * h.num_experts_used) +
         Arena::Bytes<float>(rows * h.num_experts_used) +
         Arena::Bytes<float>(h.shared_ffn > 0 ? rows * h.hidden : 0) + Arena::Bytes<float>(rows);
}

MoeScratch MoeScratch::Take(Arena& arena, const HParams& h, int64_t rows) {
  if (h.num_experts == 0) return {};
  return {.router_logits = arena.Take<float>(rows * h.num_experts).data(),
          .ids = arena.Take<int32_t>(rows * h.num_experts_used).data(),
          .weights = arena.Take<float>(rows * h.num_experts_used).data(),
          .shared = arena.Take<float>(h.shared_ffn > 0 ? rows * h.hidden : 0).data(),
          .shared_gate = arena.Take<float>(rows).data()};
}

absl::StatusOr<MoeFfn> MoeFfn::Bind(Binder& binder, Kernels& kernels, const HParams& h,
                                    const DecoderTraits& traits, int32_t layer,
                                    const std::string& prefix) {
  RETURN_IF_ERROR(RequireAll(kernels, h, traits));
  MoeFfn moe;
  ASSIGN_OR_RETURN(moe.router_, Linear::Bind(binder, kernels, prefix + "ffn_gate_inp",
                                             h.num_experts, h.hidden, traits.expert_bias));
  ASSIGN_OR_RETURN(moe.selection_bias_, BindBias(binder, kernels, prefix + "exp_probs_b.bias",
                                                 Shape({h.num_experts}), traits.selection_bias));
  ASSIGN_OR_RETURN(moe.experts_, Experts::Bind(binder, kernels, h, traits, layer, prefix));
  if (h.shared_ffn == 0) return moe;
  ASSIGN_OR_RETURN(moe.shared_,
                   DenseFfn::Bind(binder, kernels, h, traits, prefix, h.shared_ffn, "_shexp"));
  if (!traits.shared_gate) return moe;
  ASSIGN_OR_RETURN(moe.shared_gate_,
                   BindSharedGate(binder, kernels, prefix + "ffn_gate_inp_shexp.weight", h.hidden));
  return moe;
}

int64_t MoeFfn::always_bytes() const {
  return router_.bytes() + shared_gate_.bytes() + (shared_.has_value() ? shared_->bytes() : 0);
}

void MoeFfn::Apply(Kernels& kernels, const HParams& h, const MoeScratch& s, const float* x,
                   int64_t rows, float* y) const {
  const MatmulOutput to_router = router_.To(s.router_logits, h.num_experts);
  const bool gated = !shared_gate_.weight.empty();
  if (gated) {
    kernels.Matmul({to_router, shared_gate_.To(s.shared_gate, 1)}, x, h.hidden, rows);
  } else {
    kernels.Matmul({to_router}, x, h.hidden, rows);
  }
  kernels.Route({.num_experts = h.num_experts,
                 .top_k = h.num_experts_used,
                 .score = h.router.score,
                 .selection_bias = selection_bias_.as<float>(),
                 .num_groups = h.router.num_groups,
                 .num_groups_used = h.router.num_groups_used,
                 // DeepSeek-V2 takes the best expert of a group for its score, V3 the two best.
                 .group_best = h.router.score == RouterScore::kSigmoid
                                   ? std::min(2, h.num_experts / h.router.num_groups)
                                   : 1,
                 .renormalize = h.router.renormalize,
                 .scale = static_cast<float>(h.router.scale)},
                s.router_logits, h.num_experts, rows, s.ids, s.weights);
  const ExpertSplit split = experts_.split();
  const FfnWeights experts = experts_.weights(split);
  const ExpertRouting routing = {.ids = s.ids, .weights = s.weights, .top_k = h.num_experts_used};
  kernels.PrepareMoe(experts, routing, x, h.hidden, rows);
  if (shared_.has_value()) shared_->Apply(kernels, h, x, rows, s.shared);
  kernels.Moe(experts, routing, x, h.hidden, rows, y, h.hidden);
  if (!shared_.has_value()) return;
  if (gated) {
    kernels.AddGated(s.shared, s.shared_gate, rows, h.hidden, y);
  } else {
    kernels.Add(s.shared, rows * h.hidden, y);
  }
}

}  // namespace conclave::engine
