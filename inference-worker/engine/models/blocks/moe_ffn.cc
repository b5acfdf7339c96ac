#include "engine/models/blocks/moe_ffn.h"

namespace conclave::engine {

int64_t MoeScratch::Bytes(const HParams& h, int64_t rows) {
  return Arena::Bytes<float>(rows * h.num_experts) +
         Arena::Bytes<int32_t>(rows * h.num_experts_used) +
         Arena::Bytes<float>(rows * h.num_experts_used);
}

MoeScratch MoeScratch::Take(Arena& arena, const HParams& h, int64_t rows) {
  return {.router_logits = arena.Take<float>(rows * h.num_experts).data(),
          .ids = arena.Take<int32_t>(rows * h.num_experts_used).data(),
          .weights = arena.Take<float>(rows * h.num_experts_used).data()};
}

absl::StatusOr<MoeFfn> MoeFfn::Bind(Binder& binder, Kernels& kernels, const HParams& h,
                                    const std::string& prefix) {
  MoeFfn moe;
  const Shape into({h.num_experts, h.expert_ffn, h.hidden});
  const Shape out_of({h.num_experts, h.hidden, h.expert_ffn});
  ASSIGN_OR_RETURN(moe.router_, BindPacked(binder, kernels, prefix + "ffn_gate_inp.weight",
                                           {h.num_experts, h.hidden}));
  ASSIGN_OR_RETURN(moe.gate_, BindPacked(binder, kernels, prefix + "ffn_gate_exps.weight", into));
  ASSIGN_OR_RETURN(moe.up_, BindPacked(binder, kernels, prefix + "ffn_up_exps.weight", into));
  ASSIGN_OR_RETURN(moe.down_, BindPacked(binder, kernels, prefix + "ffn_down_exps.weight", out_of));
  return moe;
}

void MoeFfn::Apply(Kernels& kernels, const HParams& h, const MoeScratch& s, const float* x,
                   int64_t rows, float* y) const {
  kernels.Matmul({{.weight = &router_, .y = s.router_logits, .y_stride = h.num_experts}}, x,
                 h.hidden, rows);
  kernels.RouteTopK(s.router_logits, h.num_experts, rows, h.num_experts, h.num_experts_used,
                    h.expert_weights_norm, s.ids, s.weights);
  kernels.Moe({.gate = &gate_, .up = &up_, .down = &down_, .activation = Activation::kSilu},
              {.ids = s.ids, .weights = s.weights, .top_k = h.num_experts_used}, x, h.hidden, rows,
              y, h.hidden);
}

}  // namespace conclave::engine
