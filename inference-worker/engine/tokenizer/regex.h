// The regular expressions that tokenizer.json files cut and replace text by. Hugging Face
// tokenizers runs them with Oniguruma in its Ruby syntax over Unicode 16, and a model was trained
// on those cuts, so that dialect is what counts. Matching here is a backtracking search that
// remembers which (state, position) pairs lead nowhere: the same match as a backtracker finds, in
// time linear in the text, on any text. Ours rather than a library's: those that have look-ahead
// backtrack without memory, and would have to fail, or hang, in the middle of a prompt.
//
// Understood: alternation, groups (all of them non-capturing), greedy, lazy and possessive
// quantifiers, classes with ranges, nesting, && and POSIX names, \d \w \s \h \R, \p{category} and
// \p{script}, . ^ $ \A \z \Z \b \B, look-ahead, look-behind of fixed lengths, atomic groups, and
// the options i and m. Refused by name: back-references, \G, \X, \K, absent groups, conditionals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tokenizer/scanned_text.h"

namespace conclave::engine {

// Scalars [begin, end); empty matches are possible.
struct RegexMatch {
  size_t begin = 0;
  size_t end = 0;
};

namespace regex {
struct Program;
}

// Immutable; thread-safe.
class Regex final {
 public:
  // INVALID_ARGUMENT for what is no expression or is longer than 16 KiB, UNIMPLEMENTED for what is
  // not understood; both say where.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  // One that matches just this text.
  static absl::StatusOr<Regex> Literal(std::string_view text);

  // Appends the matches within the scalars [begin, end), leftmost first and none overlapping. The
  // expression sees nothing outside that range. An empty match right behind another is left out.
  void FindAll(const ScannedText& text, size_t begin, size_t end,
               std::vector<RegexMatch>* matches) const;

 private:
  explicit Regex(std::shared_ptr<const regex::Program> program) : program_(std::move(program)) {}
  std::shared_ptr<const regex::Program> program_;  // shared by the copies of this expression
};

}  // namespace conclave::engine
