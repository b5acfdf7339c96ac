// A mixture of experts: a router gives each row its top-k experts and their weights; the row's
// output is the weighted sum of the experts' outputs, and of the shared expert's that every row
// goes to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "engine/models/blocks/dense_ffn.h"
#include "engine/models/blocks/experts.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/traits.h"
#include "engine/models/hparams.h"
#include "engine/tensor/arena.h"

namespace conclave::engine {

// Buffers of one step, shared by all layers.
struct MoeScratch {
  float* router_logits = nullptr;  // [rows][num_experts]
  int32_t* ids = nullptr;          // [rows][num_experts_used]
  float* weights = nullptr;        // [rows][num_experts_used]
  float* shared = nullptr;         // [rows][hidden]
  float* shared_gate = nullptr;    // [rows]

  static int64_t Bytes(const HParams& hparams, int64_t rows);
  static MoeScratch Take(Arena& arena, const HParams& hparams, int64_t rows);
};

class MoeFfn final {
 public:
  // `prefix` is "blk.<layer>.".
  static absl::StatusOr<MoeFfn> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                     const DecoderTraits& traits, int32_t layer,
                                     const std::string& prefix);

  // Rows of `hidden` floats without gaps; y may be x.
  void Apply(Kernels& kernels, const HParams& hparams, const MoeScratch& scratch, const float* x,
             int64_t rows, float* y) const;

  int64_t bytes() const { return always_bytes() + expert_bytes(); }
  // Of what every token reads, and of the experts together.
  int64_t always_bytes() const;
  int64_t expert_bytes() const { return experts_.bytes(); }

 private:
  Linear router_;          // [num_experts][hidden]
  Buffer selection_bias_;  // [num_experts]
  Experts experts_;
  std::optional<DenseFfn> shared_;
  Linear shared_gate_;  // [1][hidden]
};

}  // namespace conclave::engine
