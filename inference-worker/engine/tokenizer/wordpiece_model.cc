#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/strings.h"
#include "engine/tokenizer/token_model.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

class WordPieceModel final : public TokenModel {
 public:
  WordPieceModel(const Vocabulary& vocabulary, WordPieceOptions options)
      : options_(std::move(options)) {
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      if (!options_.entries.empty() && !options_.entries[static_cast<size_t>(id)]) continue;
      Add(vocabulary.text(id), id);
    }
  }

  void Encode(std::string_view word, std::vector<TokenId>* ids) const override {
    const size_t first = ids->size();
    if (!EncodePieces(word, ids)) {
      ids->resize(first);
      ids->push_back(options_.unknown);
    }
  }

 private:
  // The two spellings of "this piece begins a word": GGUF marks the beginnings (▁word, ing), the
  // original vocabularies the continuations (word, ##ing). There a piece that looks like a
  // continuation may begin a word all the same, if the word is spelt so.
  void Add(std::string_view text, TokenId id) {
    const std::string& prefix =
        options_.word_prefix.empty() ? options_.continuing_prefix : options_.word_prefix;
    const bool marked = text.starts_with(prefix) && text.size() > prefix.size();
    const std::string_view bare = marked ? text.substr(prefix.size()) : text;
    if (!options_.word_prefix.empty()) {
      Put(marked ? &starts_ : &continuations_, bare, id);
      return;
    }
    Put(&starts_, text, id);
    if (marked || prefix.empty()) Put(&continuations_, bare, id);
  }
  using Pieces = absl::flat_hash_map<std::string_view, TokenId>;
  void Put(Pieces* pieces, std::string_view text, TokenId id) {
    if (text.empty()) return;
    pieces->try_emplace(text, id);
    piece_bytes_max_ = std::max(piece_bytes_max_, text.size());
  }

  // False when some part of the word is in no piece.
  bool EncodePieces(std::string_view word, std::vector<TokenId>* ids) const {
    std::vector<size_t> ends;  // of each scalar
    for (size_t at = 0; at < word.size();) {
      at += DecodeUtf8(word, at).length;
      ends.push_back(at);
      if (static_cast<int32_t>(ends.size()) > options_.word_scalars_max) return false;
    }
    size_t begin = 0, next = 0;  // in bytes, in scalars
    while (begin < word.size()) {
      const Pieces& pieces = begin == 0 ? starts_ : continuations_;
      size_t end = ends.size();
      TokenId id = -1;
      for (; end > next; --end) {
        const size_t length = ends[end - 1] - begin;
        if (length > piece_bytes_max_) continue;
        const auto found = pieces.find(word.substr(begin, length));
        if (found == pieces.end()) continue;
        id = found->second;
        break;
      }
      if (id < 0) return false;
      ids->push_back(id);
      begin = ends[end - 1];
      next = end;
    }
    return true;
  }

  WordPieceOptions options_;
  size_t piece_bytes_max_ = 0;
  Pieces starts_, continuations_;  // by text without mark; views into the vocabulary
};

}  // namespace

absl::StatusOr<std::unique_ptr<const TokenModel>> MakeWordPieceModel(const Vocabulary& vocabulary,
                                                                     WordPieceOptions options) {
  if (options.unknown < 0) return base::InvalidArgument("WordPiece: needs an unknown token");
  return std::make_unique<const WordPieceModel>(vocabulary, std::move(options));
}

}  // namespace conclave::engine
