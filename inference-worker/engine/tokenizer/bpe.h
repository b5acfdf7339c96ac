// Byte-level byte-pair encoding (GPT-2 and its heirs): words are cut by the pretokenizer, their
// bytes are symbols, and the neighbours whose merge ranks first are joined until none is left.
#pragma once

#include <memory>

#include "engine/tokenizer/load.h"

namespace conclave::engine {

// For spec.model "gpt2". INVALID_ARGUMENT: a merge of tokens that are not in the vocabulary.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(TokenizerSpec spec);

// The text that stands for a byte in a vocabulary of this kind (' ' is "Ġ"), and back: the bytes a
// token's text stands for. Characters outside that alphabet stand for themselves.
std::string_view ByteLevelText(unsigned char byte);
std::string ByteLevelBytes(std::string_view text);

}  // namespace conclave::engine
