// down(silu(gate(x)) · up(x))
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/hparams.h"

namespace conclave::engine {

class DenseFfn final {
 public:
  // `prefix` is "blk.N."
  static absl::StatusOr<DenseFfn> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                       const std::string& prefix);

  // Rows of `hidden` floats without gaps; y may be x.
  void Apply(Kernels& kernels, const HParams& hparams, const float* x, int64_t rows,
             float* y) const;

  int64_t bytes() const { return gate_.bytes() + up_.bytes() + down_.bytes(); }

 private:
  PackedMatrix gate_, up_, down_;
};

}  // namespace conclave::engine
