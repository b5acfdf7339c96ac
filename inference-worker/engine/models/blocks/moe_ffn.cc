#include "engine/models/blocks/moe_ffn.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace conclave::engine {
namespace {

// One part ("gate", "up", "down") of all experts of a layer, [experts][out][in].
class ExpertStacks final {
 public:
  ExpertStacks(Binder& binder, Kernels& kernels, std::string prefix, int64_t experts)
      : binder_(binder), kernels_(kernels), prefix_(std::move(prefix)), experts_(experts) {}

  absl::StatusOr<PackedMatrix> Bind(const std::string& part, int64_t out, int64_t in) {
    const std::string stack = prefix_ + "ffn_" + part + "_exps.weight";
    if (Has(stack)) return BindPacked(binder_, kernels_, stack, Shape({experts_, out, in}));
    const std::string both = prefix_ + "ffn_gate_up_exps.weight";
    if (part != "down" && Has(both)) {
      ASSIGN_OR_RETURN(const TensorView view, binder_.Get(both, Shape({experts_, 2 * out, in})));
      const int64_t first = part == "gate" ? 0 : out;
      return Join(both, view.dtype, out, in,
                  [&](int64_t e) { return view.row(e * 2 * out + first); });
    }
    const auto apart = [&](int64_t e) {
      return absl::StrCat(prefix_, "ffn_", part, ".", e, ".weight");
    };
    if (!Has(apart(0))) return BindPacked(binder_, kernels_, stack, Shape({experts_, out, in}));
    std::vector<TensorView> views;
    for (int64_t e = 0; e < experts_; ++e) {
      ASSIGN_OR_RETURN(const TensorView view, binder_.Get(apart(e), Shape({out, in})));
      if (view.dtype != (views.empty() ? view : views.front()).dtype) {
        return base::InvalidArgument(absl::StrCat(base::Abs(binder_.source().path()), ": ",
                                                  apart(e), ": not of the type of expert 0"));
      }
      views.push_back(view);
    }
    ASSIGN_OR_RETURN(PackedMatrix joined,
                     Join(apart(0), views.front().dtype, out, in,
                          [&](int64_t e) { return views[static_cast<size_t>(e)].data; }));
    for (const TensorView& view : views) binder_.source().DoneWith(view);
    return joined;
  }

 private:
  bool Has(const std::string& name) const { return binder_.source().FindTensor(name) != nullptr; }

  // Copies matrices that lie apart into one stack for as long as it is packed.
  template <typename Where>
  absl::StatusOr<PackedMatrix> Join(const std::string& name, DType dtype, int64_t out, int64_t in,
                                    const Where& where) {
    TensorView stack{.dtype = dtype, .shape = Shape({experts_, out, in}), .data = nullptr};
    const int64_t matrix_bytes = stack.row_bytes() * out;
    ASSIGN_OR_RETURN(Buffer bytes, Buffer::Allocate(experts_ * matrix_bytes));
    for (int64_t e = 0; e < experts_; ++e) {
      std::memcpy(bytes.data() + e * matrix_bytes, where(e), static_cast<size_t>(matrix_bytes));
    }
    stack.data = bytes.data();
    return PackAs(binder_, kernels_, name, stack);
  }

  Binder& binder_;
  Kernels& kernels_;
  const std::string prefix_;
  const int64_t experts_;
};

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
                                    const DecoderTraits& traits, const std::string& prefix) {
  RETURN_IF_ERROR(RequireAll(kernels, h, traits));
  MoeFfn moe;
  moe.activation_ = traits.activation;
  ASSIGN_OR_RETURN(moe.router_, Linear::Bind(binder, kernels, prefix + "ffn_gate_inp",
                                             h.num_experts, h.hidden, traits.expert_bias));
  ASSIGN_OR_RETURN(moe.selection_bias_, BindBias(binder, kernels, prefix + "exp_probs_b.bias",
                                                 Shape({h.num_experts}), traits.selection_bias));
  ExpertStacks stacks(binder, kernels, prefix, h.num_experts);
  ASSIGN_OR_RETURN(moe.gate_, stacks.Bind("gate", h.expert_ffn, h.hidden));
  ASSIGN_OR_RETURN(moe.up_, stacks.Bind("up", h.expert_ffn, h.hidden));
  ASSIGN_OR_RETURN(moe.down_, stacks.Bind("down", h.hidden, h.expert_ffn));
  const Shape inner({h.num_experts, h.expert_ffn});
  ASSIGN_OR_RETURN(moe.gate_bias_, BindBias(binder, kernels, prefix + "ffn_gate_exps.bias", inner,
                                            traits.expert_bias));
  ASSIGN_OR_RETURN(moe.up_bias_, BindBias(binder, kernels, prefix + "ffn_up_exps.bias", inner,
                                          traits.expert_bias));
  ASSIGN_OR_RETURN(moe.down_bias_, BindBias(binder, kernels, prefix + "ffn_down_exps.bias",
                                            Shape({h.num_experts, h.hidden}), traits.expert_bias));
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
  if (shared_.has_value()) shared_->Apply(kernels, h, x, rows, s.shared);
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
  kernels.Moe({.gate = &gate_,
               .up = &up_,
               .down = &down_,
               .activation = activation_,
               .gate_bias = gate_bias_.as<float>(),
               .up_bias = up_bias_.as<float>(),
               .down_bias = down_bias_.as<float>()},
              {.ids = s.ids, .weights = s.weights, .top_k = h.num_experts_used}, x, h.hidden, rows,
              y, h.hidden);
  if (!shared_.has_value()) return;
  if (gated) {
    kernels.AddGated(s.shared, s.shared_gate, rows, h.hidden, y);
  } else {
    kernels.Add(s.shared, rows * h.hidden, y);
  }
}

}  // namespace conclave::engine
