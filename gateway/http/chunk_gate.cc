#include "gateway/http/chunk_gate.h"

#include "gateway/http/ascii.h"

namespace conclave::gateway {
namespace {

constexpr size_t kExtensionBytesMax = 256;
// 12 hex digits hold 256 TB: above any limit, below overflow.
constexpr size_t kSizeDigitsMax = 12;

// Walks along the input; where it ends too early, or what is due does not come, the walk is over.
class ChunkJudge final {
 public:
  explicit ChunkJudge(std::string_view input) : input_(input) {}

  ChunkJudgement Judge(bool after_data) {
    const bool passed = (!after_data || TakeLineEnd("chunk_end")) && TakeSize() &&
                        TakeExtensions() &&
                        TakeLineEnd(extension_bytes_ > 0 ? "chunk_extension" : "chunk_size") &&
                        (!last_ || TakeLineEnd("trailer"));
    if (passed) {
      judgement_.state = ChunkJudgement::State::kAccepted;
      judgement_.bytes = at_;
    }
    return judgement_;
  }

 private:
  bool AtEnd() const { return at_ == input_.size(); }
  bool Refuse(std::string_view reason) {
    judgement_.state = ChunkJudgement::State::kRefused;
    judgement_.reason = reason;
    return false;
  }

  bool TakeLineEnd(std::string_view reason) {
    for (const char due : {'\r', '\n'}) {
      if (AtEnd()) return false;
      if (input_[at_] != due) return Refuse(reason);
      ++at_;
    }
    return true;
  }

  bool TakeSize() {
    const size_t begin = at_;
    while (!AtEnd() && HexDigit(input_[at_]) >= 0) {
      if (at_ - begin == kSizeDigitsMax) return Refuse("chunk_size");
      if (input_[at_] != '0') last_ = false;
      ++at_;
    }
    if (AtEnd()) return false;
    return at_ > begin || Refuse("chunk_size");
  }

  bool TakeExtensions() {
    const size_t begin = at_;
    while (!AtEnd() && input_[at_] == ';') {
      if (!TakeToken(begin)) return false;
      if (!AtEnd() && input_[at_] == '=' && !TakeToken(begin)) return false;
    }
    extension_bytes_ = at_ - begin;
    return !AtEnd();
  }

  // The character in front of a token, and the token.
  bool TakeToken(size_t extensions_begin) {
    const size_t begin = ++at_;
    while (!AtEnd() && IsTokenChar(input_[at_])) {
      if (++at_ - extensions_begin > kExtensionBytesMax) return Refuse("chunk_extension");
    }
    if (AtEnd()) return false;
    return at_ > begin || Refuse("chunk_extension");
  }

  const std::string_view input_;
  size_t at_ = 0;
  size_t extension_bytes_ = 0;
  bool last_ = true;  // the size is zero as far as it has been read
  ChunkJudgement judgement_;
};

}  // namespace

ChunkJudgement JudgeChunkHead(std::string_view input, bool after_data) {
  return ChunkJudge(input).Judge(after_data);
}

}  // namespace conclave::gateway
