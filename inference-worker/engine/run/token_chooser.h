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
#include "engine/sample/row_scan.h"
#include "engine/sample/sampler.h"
#include "engine/schedule/batch.h"

namespace conclave::engine {

// The token after a sequence's last one.
struct Choice {
  TokenId token = -1;  // -1: the row held no number to choose by, or a grammar allows none
  TokenLogprob logprob;
  std::vector<TokenLogprob> alternatives;
};

class TokenChooser final {
 public:
  TokenChooser(int32_t vocab_size, Kernels* kernels);

  // `logits` are the batch's output rows, and change.
  void Choose(const Batch& batch, std::span<float> logits);

  // Of the last Choose. One choice for each part of the batch that wants logits, in order;
  const std::vector<Choice>& choices() const { return choices_; }
  // one score for each row to score, in order.
  const std::vector<ScoredToken>& scores() const { return scores_; }

 private:
  struct Worker {
    explicit Worker(int32_t vocab_size) : processor(vocab_size) {}
    LogitsProcessor processor;
    RowScan scan;
    Sampler sampler;
  };

  // What is made of one row of logits.
  struct Row {
    const Sequence* sequence = nullptr;
    int32_t position = 0;          // of the token that is scored
    ScoredToken* score = nullptr;  // null = chosen from
    Choice* choice = nullptr;
  };

  void ListRows(const Batch& batch);
  static void Score(const Row& row, std::span<const float> logits, RowScan& scan);
  static void ChooseOne(const Sequence& sequence, std::span<float> logits, Worker& worker,
                        Choice& choice);

  const int32_t vocab_size_;
  Kernels* const kernels_;
  std::vector<Worker> workers_;  // by thread of the pool
  std::vector<Row> rows_;
  std::vector<Choice> choices_;
  std::vector<ScoredToken> scores_;
};

}  // namespace conclave::engine
