// Tells the tokens of a prompt, in pieces of one size whatever the chunks they were computed in.
#pragma once

#include <optional>
#include <vector>

#include "backends/backend.h"
#include "engine/tokenizer/incremental_decoder.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::backends {

// One per request. Not thread-safe.
class PromptTeller final {
 public:
  // `tokenizer` outlives the teller; `size` is that of the prompt, in tokens.
  PromptTeller(const engine::Tokenizer* tokenizer, size_t size)
      : decoder_(*tokenizer), tokens_left_(size) {}

  // The next token; a piece when it is full, or the last one.
  std::optional<PromptTokens> Add(TokenLogprob token);

 private:
  engine::IncrementalDecoder decoder_;
  size_t tokens_left_;
  int32_t next_position_ = 0;
  PromptTokens piece_;
};

}  // namespace conclave::backends
