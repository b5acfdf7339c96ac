// The work of one step, and the same as the flat arrays a forward pass wants.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/kv_layout.h"
#include "engine/request.h"
#include "engine/schedule/sequence.h"

namespace conclave::engine {

// Consecutive tokens of one sequence. When they are its last ones, the step gives a new token.
struct BatchPart {
  Sequence* sequence = nullptr;
  int32_t position = 0;  // of the first row
  int32_t rows = 0;
  bool wants_logits = false;  // of the last row
  // Rows of the prompt whose logits say how likely the token after them was.
  int32_t score_begin = 0;  // the first of them, counted from the part's first
  int32_t score_rows = 0;
};

struct Batch {
  std::vector<BatchPart> parts;
  std::vector<Sequence*> admitted;  // given a slot for the first time in this step
  int32_t num_rows = 0;
  int32_t num_score_rows = 0;
  int32_t num_preempted = 0;

  bool empty() const { return parts.empty(); }
};

// Rebuilt each step in memory that stays. Views into it live until the next Fill.
class BatchInputs final {
 public:
  void Fill(const Batch& batch);

  std::span<const TokenId> tokens() const { return tokens_; }
  std::span<const int32_t> positions() const { return positions_; }
  std::span<const AttentionSpan> spans() const { return spans_; }
  // Rows whose logits are wanted, in the order of the parts: those to score, then the last.
  std::span<const int32_t> output_rows() const { return output_rows_; }

 private:
  std::vector<TokenId> tokens_;
  std::vector<int32_t> positions_;
  std::vector<AttentionSpan> spans_;
  std::vector<int32_t> output_rows_;
};

}  // namespace conclave::engine
