// A model, its kernels and its KV memory as one thing that computes batches. Owned by the step
// loop; not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/kv/kv_store.h"
#include "engine/models/architecture.h"
#include "engine/schedule/batch.h"
#include "engine/tensor/arena.h"

namespace conclave::engine {

class Executor final {
 public:
  // What steps may be at most.
  struct Size {
    int32_t rows = 0;
    int32_t logit_rows = 0;  // that want logits
    int32_t sequences = 0;
    int32_t context = 0;   // tokens of a sequence
    bool expands = false;  // latents of long prompts (Numerics::kFast)
  };
  // Takes all that steps of this size need: none can fail for want of memory.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(std::unique_ptr<Kernels> kernels,
                                                          std::unique_ptr<Model> model, KvStore kv,
                                                          const Size& size);

  // Asks for the batch. Row i of the result, vocab_size floats in the kernels' memory, belongs to
  // the i-th row that wants logits (BatchInputs::output_rows); the caller's until the next call, to
  // be read by HostView or the row reader, which tell when the device failed: nothing of this batch
  // may be used then, nor of any later one.
  std::span<float> Run(const Batch& batch);

  const HParams& hparams() const { return model_->hparams(); }
  Kernels& kernels() { return *kernels_; }

 private:
  Executor(std::unique_ptr<Kernels> kernels, std::unique_ptr<Model> model, KvStore kv)
      : kernels_(std::move(kernels)),
        model_(std::move(model)),
        kv_(std::move(kv)),
        arena_(kernels_->memory()) {}

  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Model> model_;
  KvStore kv_;
  Arena arena_;
  Buffer logits_;
  BatchInputs inputs_;
};

}  // namespace conclave::engine
