#include "engine/tokenizer/wordpiece.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/tokenizer/unicode.h"
#include "engine/tokenizer/vocabulary.h"

namespace conclave::engine {
namespace {

constexpr size_t kWordScalarsMax = 100;  // longer words are unknown, as in BERT

bool IsCjk(uint32_t s) {
  return (s >= 0x4E00 && s <= 0x9FFF) || (s >= 0x3400 && s <= 0x4DBF) ||
         (s >= 0x20000 && s <= 0x2A6DF) || (s >= 0x2A700 && s <= 0x2B73F) ||
         (s >= 0x2B740 && s <= 0x2B81F) || (s >= 0x2B920 && s <= 0x2CEAF) ||
         (s >= 0xF900 && s <= 0xFAFF) || (s >= 0x2F800 && s <= 0x2FA1F);
}

// What the cleaning takes out: NUL, the replacement sign, control, format and private characters.
// Of the controls only these three count as spaces.
bool IsDropped(uint32_t s) {
  if (s == '\t' || s == '\n' || s == '\r') return false;
  const Category c = CategoryOf(s);
  return s == 0 || s == kReplacementScalar || s == kInvalidScalar || c == Category::kCc ||
         c == Category::kCf || c == Category::kCo;
}

bool IsCut(uint32_t s) {
  const bool ascii = (s >= 0x21 && s <= 0x2F) || (s >= 0x3A && s <= 0x40) ||
                     (s >= 0x5B && s <= 0x60) || (s >= 0x7B && s <= 0x7E);
  return ascii || IsPunctuation(CategoryOf(s));
}

class WordPieceTokenizer final : public VocabularyTokenizer {
 public:
  WordPieceTokenizer(std::unique_ptr<const Vocabulary> vocabulary, const TokenizerSpec& spec)
      : VocabularyTokenizer(std::move(vocabulary)),
        lower_case_(spec.lower_case),
        word_prefix_(spec.word_prefix),
        continuation_prefix_(spec.continuation_prefix) {
    const Vocabulary& tokens = this->vocabulary();
    for (TokenId id = 0; id < tokens.size(); ++id) {
      if (tokens.IsControl(id)) continue;
      const auto [text, starts_word] = PieceOf(id);
      if (text.empty()) continue;
      (starts_word ? starts_ : continuations_).try_emplace(text, id);
      piece_bytes_max_ = std::max(piece_bytes_max_, text.size());
    }
  }

  // A piece that begins a word has a space in front; Decode takes the first one off again.
  std::string TokenBytes(TokenId id, bool render_special) const override {
    if (IsControl(id)) return render_special ? vocabulary().text(id) : "";
    const auto [text, starts_word] = PieceOf(id);
    return (starts_word ? " " : "") + std::string(text);
  }
  std::string_view model_name() const override { return "bert"; }
  bool adds_space_prefix() const override { return true; }

 protected:
  void EncodeText(std::string_view text, bool, std::vector<TokenId>* ids) const override {
    std::u32string word;
    const auto finish_word = [&] {
      if (!word.empty()) EncodeWord(word, ids);
      word.clear();
    };
    std::u32string normal;
    for (size_t at = 0; at < text.size();) {
      const DecodedScalar scalar = DecodeUtf8(text, at);
      at += scalar.length;
      if (IsDropped(scalar.value)) continue;
      if (IsWhiteSpace(scalar.value) || IsCjk(scalar.value)) finish_word();
      if (IsWhiteSpace(scalar.value)) continue;
      normal.clear();
      Normalize(scalar.value, &normal);
      for (const char32_t part : normal) {
        if (IsCut(part)) {
          finish_word();
          EncodeWord(std::u32string(1, part), ids);
        } else {
          word.push_back(part);
        }
      }
      if (IsCjk(scalar.value)) finish_word();
    }
    finish_word();
  }

 private:
  struct Piece {
    std::string_view text;
    bool starts_word;
  };
  // The two spellings of "this piece begins a word": GGUF marks the beginnings (▁word, ing), the
  // original vocabularies the continuations (word, ##ing).
  Piece PieceOf(TokenId id) const {
    const std::string_view text = vocabulary().text(id);
    if (!word_prefix_.empty()) {
      const bool starts = text.starts_with(word_prefix_);
      return {starts ? text.substr(word_prefix_.size()) : text, starts};
    }
    const bool continues =
        text.starts_with(continuation_prefix_) && text.size() > continuation_prefix_.size();
    return {continues ? text.substr(continuation_prefix_.size()) : text, !continues};
  }

  void Normalize(uint32_t scalar, std::u32string* out) const {
    if (!lower_case_) {
      out->push_back(scalar);
      return;
    }
    std::u32string base;
    AppendBaseForm(scalar, &base);
    for (const char32_t part : base) AppendLower(part, out);
  }

  void EncodeWord(const std::u32string& word, std::vector<TokenId>* ids) const {
    const size_t first = ids->size();
    if (word.size() > kWordScalarsMax || !EncodePieces(word, ids)) {
      ids->resize(first);
      ids->push_back(vocabulary().unknown());
    }
  }

  // False when some part of the word is in no piece.
  bool EncodePieces(const std::u32string& word, std::vector<TokenId>* ids) const {
    std::string text;
    std::vector<size_t> ends;  // of each scalar in text
    for (const char32_t scalar : word) {
      AppendUtf8(scalar, &text);
      ends.push_back(text.size());
    }
    size_t begin = 0, next = 0;  // in bytes, in scalars
    while (begin < text.size()) {
      const auto& pieces = begin == 0 ? starts_ : continuations_;
      size_t end = ends.size();
      TokenId id = -1;
      for (; end > next && id < 0; --end) {
        const size_t length = ends[end - 1] - begin;
        if (length > piece_bytes_max_) continue;
        const auto found = pieces.find(std::string_view(text).substr(begin, length));
        if (found != pieces.end()) {
          id = found->second;
          break;
        }
      }
      if (id < 0) return false;
      ids->push_back(id);
      begin = ends[end - 1];
      next = end;
    }
    return true;
  }

  bool lower_case_;
  std::string word_prefix_;
  std::string continuation_prefix_;
  size_t piece_bytes_max_ = 0;
  // By text without prefix; views into the vocabulary.
  absl::flat_hash_map<std::string_view, TokenId> starts_;
  absl::flat_hash_map<std::string_view, TokenId> continuations_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeWordPieceTokenizer(TokenizerSpec spec) {
  ASSIGN_OR_RETURN(std::unique_ptr<const Vocabulary> vocabulary, Vocabulary::Make(&spec));
  if (vocabulary->unknown() < 0) {
    return base::InvalidArgument("tokenizer.ggml.unknown_token_id: required for WordPiece");
  }
  return std::make_unique<WordPieceTokenizer>(std::move(vocabulary), spec);
}

}  // namespace conclave::engine
