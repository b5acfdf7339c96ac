// The last step of a tokenizer: a word, as the cutting left it, becomes ids.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/tokenizer/vocabulary.h"

namespace conclave::engine {

// Immutable; thread-safe. Holds the vocabulary's tokens by reference, which must outlive it.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends; the word is not empty.
  virtual void Encode(std::string_view word, std::vector<TokenId>* ids) const = 0;
};

// Which entries of a vocabulary belong to the model itself; tokens that were added to it are found
// in the text before the model sees any of it. Empty = all.
using ModelEntries = std::vector<bool>;

struct BpeOptions {
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  ModelEntries entries;
  // Words are bytes, which the alphabet of byte_level.h spells; else words are text.
  bool byte_level = false;
  TokenId unknown = -1;
  // What a symbol outside the vocabulary does when there is no byte fallback: it stays in its
  // place, so that nothing merges across it, and is `unknown` or nothing at the end; or, as Hugging
  // Face tokenizers has it, it is `unknown` or nothing from the start.
  bool unknown_from_start = false;
  bool fuse_unknown = false;       // neighbours become one; with unknown_from_start
  bool byte_fallback = false;      // "<0x0A>", …; with unknown_from_start
  bool ignore_merges = false;      // a word that is a token is not cut up
  bool last_merge_counts = false;  // of a pair that comes twice; else the first
  std::string continuing_prefix, end_suffix;
  std::string merges_key;  // for messages: "tokenizer.ggml.merges"
};
// O(n log n) in a word. INVALID_ARGUMENT: a merge of tokens that are not in the vocabulary.
absl::StatusOr<std::unique_ptr<const TokenModel>> MakeBpeModel(const Vocabulary& vocabulary,
                                                               BpeOptions options);

struct UnigramOptions {
  std::vector<double> scores;  // by id
  ModelEntries entries;
  TokenId unknown = -1;
  bool byte_fallback = false;
};
// The best-scored way to say a word; runs of unknown characters are one `unknown`. Linear in the
// word, times the longest token. INVALID_ARGUMENT for scores that do not fit.
absl::StatusOr<std::unique_ptr<const TokenModel>> MakeUnigramModel(const Vocabulary& vocabulary,
                                                                   UnigramOptions options);

struct WordPieceOptions {
  ModelEntries entries;
  TokenId unknown = -1;  // required
  // What marks pieces that begin a word ("▁"), or, if empty, those that go on with one.
  std::string word_prefix;
  std::string continuing_prefix = "##";
  int32_t word_scalars_max = 100;  // longer words are unknown
};
// The longest piece first, again and again.
absl::StatusOr<std::unique_ptr<const TokenModel>> MakeWordPieceModel(const Vocabulary& vocabulary,
                                                                     WordPieceOptions options);

}  // namespace conclave::engine
