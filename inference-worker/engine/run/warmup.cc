#include "engine/run/warmup.h"

namespace conclave::engine {

absl::Status WarmUp(Executor& executor) {
  Sequence sequence({.prompt = {0}}, {});
  sequence.block_numbers = {0};
  Batch batch;
  batch.parts.push_back({.sequence = &sequence, .position = 0, .rows = 1, .wants_logits = true});
  batch.num_rows = 1;
  return executor.Run(batch).status();
}

}  // namespace conclave::engine
