// What tokenizer.json files call decoders, token by token: the bytes one token of a vocabulary adds
// to a text that is growing. Steps that look at the whole text do what they can say of its
// beginning; what they would do to its end is left undone, as a text may always go on.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/regex.h"

namespace conclave::engine {

// Immutable; thread-safe.
class TokenTextStep {
 public:
  virtual ~TokenTextStep() = default;
  // `first`: the token begins the text.
  virtual void Apply(bool first, std::string* bytes) const = 0;
};

class TokenText final {
 public:
  void Add(std::unique_ptr<const TokenTextStep> step) { steps_.push_back(std::move(step)); }
  std::string Of(std::string_view token, bool first) const;

 private:
  std::vector<std::unique_ptr<const TokenTextStep>> steps_;
};

std::unique_ptr<const TokenTextStep> MakeByteLevelText();
// "<0x0A>" → that byte.
std::unique_ptr<const TokenTextStep> MakeByteFallbackText();
// The replacement becomes a space; `drops_first`: nothing in the first token.
std::unique_ptr<const TokenTextStep> MakeMetaspaceText(std::string replacement, bool drops_first);
// Pieces that do not go on with a word have a space in front; `cleanup` takes it away before
// punctuation and English contractions.
std::unique_ptr<const TokenTextStep> MakeWordPieceText(std::string prefix, bool cleanup);
std::unique_ptr<const TokenTextStep> MakeReplaceText(Regex pattern, std::string content);
// Up to `start` of `content` at the beginning of each token, and `stop` at its end; or of the text.
std::unique_ptr<const TokenTextStep> MakeStripText(std::string content, int start, int stop,
                                                   bool of_whole_text);
// The space that joins tokens when there is no decoder.
std::unique_ptr<const TokenTextStep> MakeJoinedText();

}  // namespace conclave::engine
