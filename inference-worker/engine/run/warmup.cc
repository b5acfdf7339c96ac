#include "engine/run/warmup.h"

namespace conclave::engine {

absl::Status WarmUp(Executor& executor) {
  Sequence sequence({.prompt = {0}}, {});
  sequence.block_numbers = {0};
  Batch batch;
  batch.parts.push_back({.sequence = &sequence, .position = 0, .rows = 1, .wants_logits = true});
  batch.num_rows = 1;
  const std::span<float> logits = executor.Run(batch);
  return executor.kernels().HostView(logits.data(), static_cast<int64_t>(logits.size())).status();
}

}  // namespace conclave::engine
