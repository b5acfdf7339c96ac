// The two ends of a decoder: token ids to rows, rows to logits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/traits.h"
#include "engine/models/hparams.h"
#include "engine/weights/binder.h"

namespace conclave::engine {

class Embedding final {
 public:
  // A step reads a few rows of the table, from the file where the device can read it there.
  static absl::StatusOr<Embedding> Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                        const DecoderTraits& traits);

  // Into rows of `hidden` floats without gaps.
  void Apply(Kernels& kernels, std::span<const int32_t> ids, const HParams& hparams,
             float* out) const;
  int64_t row_bytes() const { return table_.view.row_bytes(); }

 private:
  RowTable table_;
  float scale_ = 1.0f;
  std::optional<Norm> norm_;
};

// output.weight, or the embedding table again where a model ties the two.
absl::StatusOr<Linear> BindOutputHead(Binder& binder, Kernels& kernels, const HParams& hparams);

}  // namespace conclave::engine
