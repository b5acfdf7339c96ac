#include "engine/run/executor.h"

#include <utility>

#include "base/check.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(std::unique_ptr<Kernels> kernels,
                                                           std::unique_ptr<Model> model, KvStore kv,
                                                           int32_t max_rows,
                                                           int32_t max_logit_rows) {
  std::unique_ptr<Executor> executor(
      new Executor(std::move(kernels), std::move(model), std::move(kv)));
  RETURN_IF_ERROR(base::Annotate(executor->arena_.Reserve(executor->model_->ScratchBytes(max_rows)),
                                 "activations of a step"));
  const int64_t logits = int64_t{max_logit_rows} * executor->hparams().vocab_size;
  ASSIGN_OR_RETURN(executor->logits_, executor->kernels_->memory().Allocate(
                                          logits * static_cast<int64_t>(sizeof(float))));
  return executor;
}

absl::StatusOr<std::span<float>> Executor::Run(const Batch& batch) {
  inputs_.Fill(batch);
  const size_t count = inputs_.output_rows().size() * static_cast<size_t>(hparams().vocab_size);
  CHECK(static_cast<int64_t>(count * sizeof(float)) <= logits_.size());
  model_->Forward({.kernels = *kernels_,
                   .kv = kv_,
                   .arena = arena_,
                   .tokens = inputs_.tokens(),
                   .positions = inputs_.positions(),
                   .spans = inputs_.spans(),
                   .output_rows = inputs_.output_rows(),
                   .logits = logits_.as<float>()});
  ASSIGN_OR_RETURN(float* const logits,
                   kernels_->HostView(logits_.as<float>(), static_cast<int64_t>(count)));
  return std::span(logits, count);
}

}  // namespace conclave::engine
