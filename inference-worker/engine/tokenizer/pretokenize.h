// Cuts text into the words that byte-level BPE works on. Each model family cuts by its own regular
// expressions; here they are hand-written matchers over categories, so that a cut takes linear time
// on any input and needs no regex engine. The expressions stand above their matchers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace conclave::engine {

struct ScannedText;  // pretokenize.cc

// What one family does: expressions applied one after the other, each to the pieces the one before
// left. Immutable.
class Pretokenizer final {
 public:
  // By tokenizer.ggml.pre; "" is "default". UNIMPLEMENTED for names that are not in the table.
  static absl::StatusOr<Pretokenizer> ForName(std::string_view name);

  // Appends the byte offset of the end of each word, ascending; the last is text.size().
  void Split(std::string_view text, std::vector<size_t>* ends) const;

  // Whether models of this family want BOS in front when their file does not say.
  bool adds_bos() const { return adds_bos_; }
  // Whether a word that is a token of its own is taken whole, whatever the merges say.
  bool ignores_merges() const { return ignores_merges_; }

  // Cuts the scalars [begin, end) and appends the ends of the pieces.
  using Stage = void (*)(const ScannedText& text, size_t begin, size_t end,
                         std::vector<size_t>* ends);

 private:
  std::vector<Stage> stages_;
  bool adds_bos_ = false;
  bool ignores_merges_ = false;
};

}  // namespace conclave::engine
