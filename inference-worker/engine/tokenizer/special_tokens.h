// Finds special tokens in text: the longest one at the leftmost place, and the guarded ones only
// where the text is trusted.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine {

// A piece of text between special tokens, or such a token (id >= 0).
struct TextPiece {
  size_t begin = 0;
  size_t end = 0;
  TokenId id = -1;
};

struct SpecialToken {
  TokenId id = -1;
  bool guarded = false;  // recognised in trusted text only
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
};

// A byte trie over the tokens' texts. Filled once, then immutable.
class SpecialTokens final {
 public:
  SpecialTokens() : nodes_(1) {}

  // Empty texts are ignored; the first of equals stays.
  void Add(std::string_view text, const SpecialToken& token);
  bool empty() const { return nodes_.size() == 1; }

  // Covers `text` from end to end; pieces of text are not empty. `trusted` as in EncodeTrusted.
  std::vector<TextPiece> Cut(std::string_view text, std::span<const TextRange> trusted) const;

 private:
  using Node = SpecialToken;  // id -1: no token ends here
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    const SpecialToken* token = nullptr;  // nullptr = none
  };
  Match LongestAt(std::string_view text, size_t at, size_t trusted_end) const;

  std::vector<Node> nodes_;                           // 0 is the root
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // node << 8 | byte → node
  std::array<bool, 256> first_bytes_{};
};

}  // namespace conclave::engine
