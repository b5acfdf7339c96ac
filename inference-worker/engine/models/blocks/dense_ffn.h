// The dense feed-forward block: down(act(gate(x)) · up(x)), or down(act(up(x))) with biases.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/traits.h"
#include "engine/models/hparams.h"

namespace conclave::engine {

class DenseFfn final {
 public:
  // "<prefix>ffn_up<suffix>.weight", …: `ffn` outputs wide inside.
  static absl::StatusOr<DenseFfn> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                       const DecoderTraits& traits, const std::string& prefix,
                                       int64_t ffn, const std::string& suffix = "");

  // Rows of `hidden` floats without gaps; y may be x.
  void Apply(Kernels& kernels, const HParams& hparams, const float* x, int64_t rows,
             float* y) const {
    kernels.Ffn({.gate = gate_.weight.empty() ? nullptr : &gate_.weight,
                 .up = &up_.weight,
                 .down = &down_.weight,
                 .activation = activation_,
                 .up_bias = up_.bias.as<float>(),
                 .down_bias = down_.bias.as<float>()},
                x, hparams.hidden, rows, y, hparams.hidden);
  }

  int64_t bytes() const { return gate_.bytes() + up_.bytes() + down_.bytes(); }

 private:
  Linear gate_, up_, down_;
  Activation activation_ = Activation::kSilu;
};

}  // namespace conclave::engine
