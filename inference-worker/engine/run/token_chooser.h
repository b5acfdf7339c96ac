// From the logits of a step to its tokens, one sequence per task on the kernels' threads. A
// sequence's choice depends on its own row, tokens and parameters alone. Where the logits are a
// device's, only what matters of each row comes over; the choice is the same.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/request.h"
#include "engine/run/device_rows.h"
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

  // `logits` are the batch's output rows in the kernels' memory, and change. Waits for the device.
  // UNAVAILABLE when it has failed.
  absl::Status Choose(const Batch& batch, std::span<float> logits);

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
  // Calls handle(index, worker) for every row, several at once.
  template <typename Handle>
  void ForEachRow(const Handle& handle);

  absl::Status ChooseHere(std::span<float> logits);
  absl::Status ChooseOnDevice(RowReader& reader, std::span<float> logits);
  // Says what of a row has to come from the device. `small`: the step is small enough to come
  // whole.
  static void Prepare(const Row& row, Worker& worker, bool small, DeviceRows::Row& there);

  static void Process(const Sequence& sequence, std::span<float> logits, Worker& worker);
  // Of the row that the worker has read, after all changes. False where blocks are wanted first.
  static bool Finish(const Row& row, Worker& worker);
  static bool Score(const Row& row, RowScan& scan);
  static bool ChooseOne(const Row& row, Worker& worker);

  const int32_t vocab_size_;
  Kernels* const kernels_;
  std::vector<Worker> workers_;  // by thread of the pool
  std::vector<Row> rows_;
  DeviceRows device_rows_;
  std::vector<Choice> choices_;
  std::vector<ScoredToken> scores_;
};

}  // namespace conclave::engine
