// Which special tokens a model wants around a text and between the two of a pair.
#pragma once

#include "base/status.h"
#include "embed/encoder_file.h"

namespace conclave::embed {

// Around a text: as the tokenizer does it. Between two: the post-processor of a tokenizer.json, or
// what GGUF's tokenizer.ggml.add_sep_token says; without either, the suffix once ([CLS] a [SEP] b
// [SEP]) for WordPiece and twice (<s> a </s></s> b </s>) for the others.
absl::StatusOr<TextFrame> ReadTextFrame(const engine::ModelSource& source,
                                        const engine::Tokenizer& tokenizer);

}  // namespace conclave::embed
