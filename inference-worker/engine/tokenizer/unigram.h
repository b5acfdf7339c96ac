// SentencePiece Unigram as GGUF files hold it (T5 and its kin): the text is normalised by the
// model's character map, spaces become "▁", and the best-scored sequence of tokens wins.
#pragma once

#include <memory>

#include "engine/tokenizer/load.h"

namespace conclave::engine {

// For spec.model "t5". INVALID_ARGUMENT: scores or character map that do not add up.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeUnigramTokenizer(TokenizerSpec spec);

}  // namespace conclave::engine
