#include "engine/schedule/batch.h"

namespace conclave::engine {

void BatchInputs::Fill(const Batch& batch) {
  tokens_.clear();
  positions_.clear();
  spans_.clear();
  output_rows_.clear();
  for (const BatchPart& part : batch.parts) {
    const Sequence& sequence = *part.sequence;
    spans_.push_back({.blocks = sequence.block_numbers.data(),
                      .position = part.position,
                      .first_row = static_cast<int32_t>(tokens_.size()),
                      .rows = part.rows});
    for (int32_t i = 0; i < part.rows; ++i) {
      tokens_.push_back(sequence.tokens[static_cast<size_t>(part.position + i)]);
      positions_.push_back(part.position + i);
    }
    const int32_t first = spans_.back().first_row + part.score_begin;
    for (int32_t i = 0; i < part.score_rows; ++i) output_rows_.push_back(first + i);
    if (part.wants_logits) output_rows_.push_back(static_cast<int32_t>(tokens_.size()) - 1);
  }
}

}  // namespace conclave::engine
