#include "engine/run/executor.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::engine {
namespace {

StepLimits LimitsOf(const HParams& h, const KvLayout& layout, const Executor::Size& size) {
  const int64_t rows = size.rows;
  const bool expands = size.expands && layout.values_in_keys;
  const int64_t slots = h.num_experts > 0 ? rows * h.num_experts_used : 0;
  const int64_t of_heads = int64_t{h.num_heads} * std::max({h.head_dim, h.value_dim, h.kv_lora});
  return {.rows = rows,
          .sequences = size.sequences,
          .context = size.context,
          .read_floats = int64_t{size.logit_rows} * h.vocab_size,
          .read_rows = size.logit_rows,
          .widest = std::max<int64_t>({h.hidden, of_heads, h.q_lora}),
          .hidden = h.hidden,
          .middle = std::max(rows * std::max(h.ffn, h.shared_ffn), slots * h.expert_ffn),
          .slots = slots,
          .experts = h.num_experts,
          .num_heads = h.num_heads,
          .layout = layout,
          .expanded_key = expands ? h.head_dim : 0,
          .expanded_value = expands ? h.value_dim : 0};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(std::unique_ptr<Kernels> kernels,
                                                           std::unique_ptr<Model> model, KvStore kv,
                                                           const Size& size) {
  std::unique_ptr<Executor> executor(
      new Executor(std::move(kernels), std::move(model), std::move(kv)));
  RETURN_IF_ERROR(
      base::Annotate(executor->arena_.Reserve(executor->model_->ScratchBytes(size.rows)),
                     "activations of a step"));
  const int64_t logits = int64_t{size.logit_rows} * executor->hparams().vocab_size;
  ASSIGN_OR_RETURN(executor->logits_, executor->kernels_->memory().Allocate(
                                          logits * static_cast<int64_t>(sizeof(float))));
  RETURN_IF_ERROR(
      executor->kernels_->Reserve(LimitsOf(executor->hparams(), executor->kv_.layout(), size)));
  return executor;
}

std::span<float> Executor::Run(const Batch& batch) {
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
  return std::span(logits_.as<float>(), count);
}

}  // namespace conclave::engine
