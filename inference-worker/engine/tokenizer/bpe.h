// Byte-level byte-pair encoding (GPT-2 and its heirs): words are cut by the rules of the family,
// their bytes are symbols, and the neighbours whose merge ranks first are joined until none is
// left.
#pragma once

#include <memory>

#include "engine/tokenizer/load.h"

namespace conclave::engine {

// For spec.model "gpt2". INVALID_ARGUMENT: a merge of tokens that are not in the vocabulary.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(TokenizerSpec spec);

}  // namespace conclave::engine
