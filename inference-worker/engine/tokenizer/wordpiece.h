// WordPiece (BERT): text is cleaned, lower-cased and stripped of accents, cut at spaces,
// punctuation and CJK characters, and each word becomes the longest pieces of the vocabulary, front
// to back.
#pragma once

#include <memory>

#include "engine/tokenizer/load.h"

namespace conclave::engine {

// For spec.model "bert". INVALID_ARGUMENT: no unknown token.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeWordPieceTokenizer(TokenizerSpec spec);

}  // namespace conclave::engine
