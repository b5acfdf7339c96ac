// Fill in the middle: models trained for it know tokens that mark what stands before the gap and
// after it.
#pragma once

#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/source.h"

namespace conclave::backends {

// -1 = the model has none.
struct FimTokens {
  engine::TokenId prefix = -1;
  engine::TokenId suffix = -1;
  engine::TokenId middle = -1;
  // Of models trained on whole repositories: in front of its name, and of each file's.
  engine::TokenId repository = -1;
  engine::TokenId file = -1;

  bool complete() const { return prefix >= 0 && suffix >= 0 && middle >= 0; }
};

// From the keys tokenizer.ggml.fim_{pre,suf,mid,rep,sep}_token_id, else by the names that the
// families use.
FimTokens FindFimTokens(const engine::ModelSource& source, const engine::Tokenizer& tokenizer);

// The prompt of a model that fills in: <prefix> before <suffix> after <middle>, the beginning of a
// text in front where the model wants one. The files come first: each behind its mark and name
// where the model has a mark for them, else as snippets of text. No text is parsed for special
// tokens.
std::vector<engine::TokenId> EncodeFim(const engine::Tokenizer& tokenizer, const FimTokens& marks,
                                       std::string_view before, const Infill& infill);

// What ends the text of a gap besides the end of generation: the model goes on to another file, or
// fills up.
std::vector<engine::TokenId> EndsOfGap(const engine::Tokenizer& tokenizer, const FimTokens& marks);

}  // namespace conclave::backends
