// The experts of a layer: stacks of matrices and of biases, all on one device or shared between it
// and the machine's processors (Kernels::DeviceExpertsOf).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/kernels/expert_mover.h"
#include "engine/kernels/kernels.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/traits.h"
#include "engine/models/hparams.h"

namespace conclave::engine {

class Experts final {
 public:
  // `prefix` is "blk.<layer>.". The experts of a layer may be stacks (ffn_gate_exps), with gate and
  // up as one (ffn_gate_up_exps), or tensors apart (ffn_gate.0, …: old files of Mixtral).
  static absl::StatusOr<Experts> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                      const DecoderTraits& traits, int32_t layer,
                                      const std::string& prefix);

  // What Kernels::Moe takes; `split` is split()'s and, like this, lives as long as the result.
  ExpertSplit split() const;
  FfnWeights weights(const ExpertSplit& split) const;
  int64_t bytes() const { return device_.bytes() + processors_.bytes(); }

 private:
  // What one of the two computes with.
  struct Part {
    PackedMatrix gate, up, down;
    Buffer gate_bias, up_bias, down_bias;

    int64_t bytes() const { return gate.bytes() + up.bytes() + down.bytes(); }
    FfnWeights weights(Activation activation) const;
  };

  Part device_, processors_;
  // Says of both stacks where they lie. The memory stays where it is when this moves.
  SharedExperts Shared(const std::vector<int32_t>& device, const std::vector<int32_t>& processors);

  int32_t layer_ = 0;
  Buffer places_;  // ExpertSplit's; empty: all experts are the device's
  Activation activation_ = Activation::kSilu;
};

}  // namespace conclave::engine
