// Token ids to text as they come. A character whose bytes are spread over several tokens is held
// back until it is whole, so that no piece handed out splits it (mesh reference I5).
#pragma once

#include <string>

#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine {

// One per output. Not thread-safe. The tokenizer must outlive it.
class IncrementalDecoder final {
 public:
  // `render_special`: control tokens give their text (parsers that look for them want this).
  explicit IncrementalDecoder(const Tokenizer& tokenizer, bool render_special = false)
      : tokenizer_(tokenizer), render_special_(render_special) {}

  // The text that `id` completes; may be empty. Always valid UTF-8: bytes that cannot begin or go
  // on with a character become U+FFFD at once. An id outside the vocabulary gives nothing.
  std::string Append(TokenId id);

  // What is held back, as U+FFFD; empty when all was given out. The decoder is empty afterwards.
  std::string Finish();

  // Bytes held back now: 0 to 3.
  size_t held() const { return held_.size(); }

 private:
  const Tokenizer& tokenizer_;
  bool render_special_;
  std::string held_;
};

}  // namespace conclave::engine
