#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/tokenizer/token_model.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst token, as in sentencepiece
constexpr size_t kTokenBytesMax = 1024;   // bounds what one position of a text can cost

class UnigramModel final : public TokenModel {
 public:
  UnigramModel(const Vocabulary& vocabulary, UnigramOptions options)
      : vocabulary_(vocabulary), options_(std::move(options)) {
    double lowest = std::numeric_limits<double>::infinity();
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      // The tokens of bytes stand for bytes, not for their own text.
      if (!Has(id) || vocabulary.type(id) == TokenType::kByte) continue;
      if (!vocabulary.text(id).empty()) sorted_.push_back(id);
      lowest = std::min(lowest, options_.scores[static_cast<size_t>(id)]);
    }
    unknown_score_ = lowest - kUnknownPenalty;
    std::stable_sort(sorted_.begin(), sorted_.end(),
                     [&](TokenId a, TokenId b) { return vocabulary.text(a) < vocabulary.text(b); });
    for (size_t byte = 0; byte < 256; ++byte) {
      const TokenId id = vocabulary.Find(absl::StrFormat("<0x%02X>", byte));
      byte_ids_[byte] = id >= 0 && Has(id) ? id : -1;
      first_byte_[byte] = static_cast<size_t>(std::partition_point(sorted_.begin(), sorted_.end(),
                                                                   [&](TokenId sorted) {
                                                                     return ByteAt(sorted, 0) <
                                                                            static_cast<int>(byte);
                                                                   }) -
                                              sorted_.begin());
    }
    first_byte_[256] = sorted_.size();
  }

  void Encode(std::string_view word, std::vector<TokenId>* ids) const override {
    const std::vector<Best> best = Search(word);
    // From the end back to the beginning.
    std::vector<Span> spans;
    for (size_t end = word.size(); end > 0;) {
      const Best& here = best[end];
      if (here.id == options_.unknown && !spans.empty() && spans.back().id == here.id) {
        spans.back().begin = here.begin;
      } else {
        spans.push_back({here.begin, end, here.id});
      }
      end = here.begin;
    }
    for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
      if (span->id != options_.unknown) {
        ids->push_back(span->id);
      } else {
        Unknown(word.substr(span->begin, span->end - span->begin), ids);
      }
    }
  }

 private:
  struct Best {
    double score = 0;
    size_t begin = kNowhere;
    TokenId id = -1;
  };
  struct Span {
    size_t begin, end;
    TokenId id;
  };
  static constexpr size_t kNowhere = std::numeric_limits<size_t>::max();

  bool Has(TokenId id) const {
    return options_.entries.empty() || options_.entries[static_cast<size_t>(id)];
  }
  // The byte of a token's text; -1 behind its end, so that a text comes before its continuations.
  int ByteAt(TokenId id, size_t i) const {
    const std::string& text = vocabulary_.text(id);
    return i < text.size() ? static_cast<unsigned char>(text[i]) : -1;
  }

  // The best way to each position, by the last token on it.
  std::vector<Best> Search(std::string_view word) const {
    std::vector<Best> best(word.size() + 1);
    for (size_t at = 0; at < word.size();) {
      const double so_far = best[at].score;
      const size_t length = DecodeUtf8(word, at).length;
      bool single = false;
      const auto offer = [&](size_t end, double score, TokenId id) {
        Best& target = best[end];
        if (target.begin == kNowhere || so_far + score > target.score) {
          target = {so_far + score, at, id};
        }
      };
      ForEachToken(word, at, [&](size_t end, TokenId id) {
        offer(end, options_.scores[static_cast<size_t>(id)], id);
        single = single || end == at + length;
      });
      if (!single) offer(at + length, unknown_score_, options_.unknown);
      at += length;
    }
    return best;
  }

  // Visits the tokens that begin at `at`, the shortest first, narrowing the sorted list.
  template <typename Visit>
  void ForEachToken(std::string_view word, size_t at, Visit visit) const {
    const auto first_byte = static_cast<unsigned char>(word[at]);
    size_t low = first_byte_[first_byte], high = first_byte_[first_byte + size_t{1}];
    for (size_t i = 1; low < high; ++i) {
      // Tokens of exactly i bytes come first; of equal texts the last counts.
      size_t same = low;
      while (same < high && vocabulary_.text(sorted_[same]).size() == i) ++same;
      if (same > low) visit(at + i, sorted_[same - 1]);
      low = same;
      if (at + i >= word.size()) return;
      const int byte = static_cast<unsigned char>(word[at + i]);
      const auto begin = sorted_.begin() + static_cast<ptrdiff_t>(low);
      const auto end = sorted_.begin() + static_cast<ptrdiff_t>(high);
      const auto from =
          std::partition_point(begin, end, [&](TokenId id) { return ByteAt(id, i) < byte; });
      const auto to =
          std::partition_point(from, end, [&](TokenId id) { return ByteAt(id, i) <= byte; });
      low = static_cast<size_t>(from - sorted_.begin());
      high = static_cast<size_t>(to - sorted_.begin());
    }
  }

  // A run of characters no token says.
  void Unknown(std::string_view text, std::vector<TokenId>* ids) const {
    const TokenId whole = vocabulary_.Find(text);
    if (whole >= 0 && Has(whole)) {
      ids->push_back(whole);
      return;
    }
    const bool says_bytes =
        options_.byte_fallback && std::all_of(text.begin(), text.end(), [&](char byte) {
          return byte_ids_[static_cast<unsigned char>(byte)] >= 0;
        });
    if (says_bytes) {
      for (const char byte : text) ids->push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    } else if (options_.unknown >= 0) {
      ids->push_back(options_.unknown);
    }
  }

  const Vocabulary& vocabulary_;
  UnigramOptions options_;
  std::vector<TokenId> sorted_;           // by text
  std::array<size_t, 257> first_byte_{};  // where the texts of each first byte begin
  std::array<TokenId, 256> byte_ids_{};
  double unknown_score_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const TokenModel>> MakeUnigramModel(const Vocabulary& vocabulary,
                                                                   UnigramOptions options) {
  if (options.scores.size() != static_cast<size_t>(vocabulary.size())) {
    return base::InvalidArgument(absl::StrCat("unigram scores: ", options.scores.size(), " for ",
                                              vocabulary.size(), " tokens"));
  }
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (!std::isfinite(options.scores[static_cast<size_t>(id)])) {
      return base::InvalidArgument(absl::StrCat("unigram score of token ", id, ": not finite"));
    }
    if (vocabulary.text(id).size() > kTokenBytesMax) {
      return base::InvalidArgument(
          absl::StrCat("unigram token ", id, ": longer than ", kTokenBytesMax, " bytes"));
    }
  }
  return std::make_unique<const UnigramModel>(vocabulary, std::move(options));
}

}  // namespace conclave::engine
