// LoadVocabTxt: the vocabulary of a WordPiece model of Hugging Face, one token a line.
#include <algorithm>
#include <utility>

#include "engine/tokenizer/load.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadVocabTxt(std::string_view text, bool lower_case) {
  TokenizerSpec spec;
  spec.model = "bert";
  spec.lower_case = lower_case;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto id = static_cast<TokenId>(spec.tokens.size());
    if (line == "[CLS]") spec.bos = id;
    if (line == "[SEP]") spec.eos = id;
    if (line == "[UNK]") spec.unknown = id;
    const bool special = line == "[PAD]" || line == "[UNK]" || line == "[CLS]" || line == "[SEP]" ||
                         line == "[MASK]";
    spec.tokens.emplace_back(line);
    spec.types.push_back(static_cast<int32_t>(special ? TokenType::kControl : TokenType::kNormal));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  spec.add_bos = spec.add_eos = true;
  if (spec.bos < 0 || spec.eos < 0 || spec.unknown < 0) {
    return base::InvalidArgument("vocab.txt: needs [UNK], [CLS] and [SEP]");
  }
  return MakeTokenizer(std::move(spec));
}

}  // namespace conclave::engine
