// The character map of sentencepiece (precompiled_charsmap): a trie of texts to replace, in the
// layout of Darts-clone, and the texts they become.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace conclave::engine {

// Immutable; thread-safe.
class CharsMap final {
 public:
  // uint32 bytes of the trie, the trie, the texts, each ended by NUL. INVALID_ARGUMENT for what
  // does not add up; an empty blob is an empty map.
  static absl::StatusOr<CharsMap> Parse(std::string_view blob);

  bool empty() const { return units_.empty(); }

  struct Replacement {
    size_t length = 0;  // bytes of the text that are replaced; 0 = nothing is
    std::string_view text;
  };
  // The longest, or the shortest, replaceable text that begins `text`.
  Replacement Longest(std::string_view text) const { return Find(text, true); }
  Replacement Shortest(std::string_view text) const { return Find(text, false); }

  // As Hugging Face tokenizers does it: a cluster (UAX #29) of less than six bytes becomes what its
  // shortest beginning becomes; else each of its scalars is replaced by itself.
  std::string ReplaceClusters(std::string_view text) const;

 private:
  Replacement Find(std::string_view text, bool longest) const;
  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace conclave::engine
