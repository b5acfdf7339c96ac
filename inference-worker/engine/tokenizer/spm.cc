#include "engine/tokenizer/spm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <queue>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/tokenizer/unicode.h"
#include "engine/tokenizer/vocabulary.h"

namespace conclave::engine {
namespace {

constexpr std::string_view kSpace = "▁";  // U+2581

std::string EscapeSpaces(std::string_view text, bool prefix) {
  std::string escaped(prefix ? kSpace : "");
  escaped.reserve(text.size() + text.size() / 4 + kSpace.size());
  for (const char byte : text) {
    if (byte == ' ') {
      escaped += kSpace;
    } else {
      escaped.push_back(byte);
    }
  }
  return escaped;
}

std::string UnescapeSpaces(std::string_view text) {
  std::string plain;
  for (size_t at = 0; at < text.size();) {
    if (text.substr(at).starts_with(kSpace)) {
      plain.push_back(' ');
      at += kSpace.size();
    } else {
      plain.push_back(text[at++]);
    }
  }
  return plain;
}

class SpmTokenizer final : public VocabularyTokenizer {
 public:
  SpmTokenizer(std::unique_ptr<const Vocabulary> vocabulary, std::vector<float> scores,
               bool add_space_prefix)
      : VocabularyTokenizer(std::move(vocabulary)),
        scores_(std::move(scores)),
        add_space_prefix_(add_space_prefix) {
    const Vocabulary& tokens = this->vocabulary();
    for (size_t byte = 0; byte < 256; ++byte) {
      byte_ids_[byte] = tokens.Find(absl::StrFormat("<0x%02X>", byte));
    }
    bytes_.assign(static_cast<size_t>(tokens.size()), int16_t{-1});
    for (size_t byte = 0; byte < 256; ++byte) {
      const TokenId id = byte_ids_[byte];
      if (id >= 0 && tokens.type(id) == TokenType::kByte) {
        bytes_[static_cast<size_t>(id)] = static_cast<int16_t>(byte);
      }
    }
    for (TokenId id = 0; id < tokens.size(); ++id) {
      token_bytes_max_ = std::max(token_bytes_max_, tokens.text(id).size());
    }
  }

  std::string TokenBytes(TokenId id, bool render_special) const override {
    if (IsControl(id)) return render_special ? vocabulary().text(id) : "";
    const int16_t byte = bytes_[static_cast<size_t>(id)];
    if (byte >= 0) return std::string(1, static_cast<char>(byte));
    return UnescapeSpaces(vocabulary().text(id));
  }
  std::string_view model_name() const override { return "llama"; }
  bool adds_space_prefix() const override { return add_space_prefix_; }

 protected:
  void EncodeText(std::string_view text, const Place& place,
                  std::vector<TokenId>* ids) const override;

 private:
  class Merger;

  // The token a text is, or -1. Control tokens are not text.
  TokenId TextToken(std::string_view text) const {
    if (text.size() > token_bytes_max_) return -1;
    const TokenId id = vocabulary().Find(text);
    return id >= 0 && !IsControl(id) ? id : -1;
  }
  void AppendBytes(std::string_view text, std::vector<TokenId>* ids) const {
    for (const char byte : text) {
      const TokenId id = byte_ids_[static_cast<unsigned char>(byte)];
      const TokenId said = id >= 0 ? id : vocabulary().unknown();
      if (said >= 0) ids->push_back(said);
    }
  }

  std::vector<float> scores_;
  bool add_space_prefix_;
  std::array<TokenId, 256> byte_ids_{};
  std::vector<int16_t> bytes_;  // by id; -1 = no byte token
  size_t token_bytes_max_ = 0;
};

// One text being merged: symbols in a linked list, candidates in a heap. O(n log n).
class SpmTokenizer::Merger final {
 public:
  Merger(const SpmTokenizer& tokenizer, std::string_view text)
      : tokenizer_(tokenizer), text_(text) {
    for (size_t at = 0; at < text.size();) {
      const size_t length = DecodeUtf8(text, at).length;
      symbols_.push_back({at, length, static_cast<int32_t>(symbols_.size()) - 1,
                          static_cast<int32_t>(symbols_.size()) + 1});
      at += length;
    }
    if (!symbols_.empty()) symbols_.back().next = -1;
  }

  void Run(std::vector<TokenId>* ids) {
    for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols_.size()); ++i) Offer(i);
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      Apply(best);
    }
    for (int32_t i = symbols_.empty() ? -1 : 0; i >= 0; i = At(i).next) Emit(At(i), ids);
  }

 private:
  struct Symbol {
    size_t begin;
    size_t length;  // 0 = merged away
    int32_t prev, next;
  };
  struct Candidate {
    float score;
    int32_t at;
    size_t left_length, right_length;
    // The best score first, then the leftmost.
    bool operator<(const Candidate& other) const {
      return score != other.score ? score < other.score : at > other.at;
    }
  };
  Symbol& At(int32_t i) { return symbols_[static_cast<size_t>(i)]; }

  void Offer(int32_t at) {
    const Symbol& left = At(at);
    const Symbol& right = At(left.next);
    const TokenId id = tokenizer_.TextToken(text_.substr(left.begin, left.length + right.length));
    if (id < 0) return;
    heap_.push({tokenizer_.scores_[static_cast<size_t>(id)], at, left.length, right.length});
  }
  void Apply(const Candidate& candidate) {
    Symbol& left = At(candidate.at);
    // The symbols may have grown since this was offered.
    if (left.length != candidate.left_length || left.next < 0) return;
    Symbol& right = At(left.next);
    if (right.length != candidate.right_length) return;
    left.length += right.length;
    right.length = 0;
    left.next = right.next;
    if (left.next >= 0) At(left.next).prev = candidate.at;
    if (left.prev >= 0) Offer(left.prev);
    if (left.next >= 0) Offer(candidate.at);
  }
  // Merged symbols are tokens by construction; only single characters may be none.
  void Emit(const Symbol& symbol, std::vector<TokenId>* ids) const {
    const std::string_view text = text_.substr(symbol.begin, symbol.length);
    const TokenId id = tokenizer_.TextToken(text);
    if (id >= 0) {
      ids->push_back(id);
    } else {
      tokenizer_.AppendBytes(text, ids);
    }
  }

  const SpmTokenizer& tokenizer_;
  std::string_view text_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> heap_;
};

void SpmTokenizer::EncodeText(std::string_view text, const Place& place,
                              std::vector<TokenId>* ids) const {
  const std::string escaped = EscapeSpaces(text, add_space_prefix_ && place.at_start);
  Merger(*this, escaped).Run(ids);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSpmTokenizer(TokenizerSpec spec) {
  if (spec.scores.size() != spec.tokens.size()) {
    return base::InvalidArgument(absl::StrCat("tokenizer.ggml.scores: ", spec.scores.size(),
                                              " entries for ", spec.tokens.size(), " tokens"));
  }
  for (size_t i = 0; i < spec.scores.size(); ++i) {
    if (!std::isfinite(spec.scores[i])) {
      return base::InvalidArgument(absl::StrCat("tokenizer.ggml.scores[", i, "]: not finite"));
    }
  }
  const bool add_space_prefix = spec.add_space_prefix;
  std::vector<float> scores = std::move(spec.scores);
  ASSIGN_OR_RETURN(std::unique_ptr<const Vocabulary> vocabulary, Vocabulary::Make(&spec));
  return std::make_unique<SpmTokenizer>(std::move(vocabulary), std::move(scores), add_space_prefix);
}

}  // namespace conclave::engine
