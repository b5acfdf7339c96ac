// From the logits of a step to its tokens, one sequence per task on the kernels' threads. A
// sequence's choice depends on its own row, tokens and parameters alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/request.h"
#include "engine/sample/logits.h"
#include "engine/sample/sampler.h"
#include "engine/schedule/batch.h"

namespace conclave::engine {

struct Choice {
  TokenId token = -1;  // -1: the row held no number to choose by, or a grammar allows none
  TokenLogprob logprob;
  std::vector<TokenLogprob> alternatives;
};

class TokenChooser final {
 public:
  TokenChooser(int32_t vocab_size, Kernels* kernels);

  // One choice for each part of the batch that wants logits, in order. Changes `logits`.
  const std::vector<Choice>& Choose(const Batch& batch, std::span<float> logits);

 private:
  struct Worker {
    explicit Worker(int32_t vocab_size) : processor(vocab_size) {}
    LogitsProcessor processor;
    Sampler sampler;
  };

  static void ChooseOne(const Sequence& sequence, std::span<float> logits, Worker& worker,
                        Choice& choice);

  const int32_t vocab_size_;
  Kernels* const kernels_;
  std::vector<Worker> workers_;  // by thread of the pool
  std::vector<const Sequence*> sequences_;
  std::vector<Choice> choices_;
};

}  // namespace conclave::engine
