// A mixture of experts: a router gives each row its top-k experts and their weights, softmax over
// all experts first; the row's output is the weighted sum of the experts' outputs.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/hparams.h"
#include "engine/tensor/arena.h"

namespace conclave::engine {

// Buffers of one step, shared by all layers.
struct MoeScratch {
  float* router_logits = nullptr;  // [rows][num_experts]
  int32_t* ids = nullptr;          // [rows][num_experts_used]
  float* weights = nullptr;        // [rows][num_experts_used]

  static int64_t Bytes(const HParams& hparams, int64_t rows);
  static MoeScratch Take(Arena& arena, const HParams& hparams, int64_t rows);
};

class MoeFfn final {
 public:
  // `prefix` is "blk.N."
  static absl::StatusOr<MoeFfn> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                     const std::string& prefix);

  // Rows of `hidden` floats without gaps; y may be x.
  void Apply(Kernels& kernels, const HParams& hparams, const MoeScratch& scratch, const float* x,
             int64_t rows, float* y) const;

  int64_t router_bytes() const { return router_.bytes(); }
  int64_t expert_bytes() const { return gate_.bytes() + up_.bytes() + down_.bytes(); }

 private:
  PackedMatrix router_;            // [num_experts][hidden]
  PackedMatrix gate_, up_, down_;  // stacks
};

}  // namespace conclave::engine
