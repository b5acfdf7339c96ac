// SentencePiece BPE as llama uses it: spaces become "▁", characters are symbols, and the neighbours
// whose union scores best are joined until none is left. What is no token then is said in bytes.
#pragma once

#include <memory>

#include "engine/tokenizer/load.h"

namespace conclave::engine {

// For spec.model "llama". INVALID_ARGUMENT: the scores are not one finite number per token.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSpmTokenizer(TokenizerSpec spec);

}  // namespace conclave::engine
