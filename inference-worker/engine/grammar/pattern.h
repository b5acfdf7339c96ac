// Regular expressions as part of a grammar. Read by the tokenizer's parser (its syntax is a
// superset of what ECMA-262 and RE2 share); \d \w \s mean ASCII, \D \W \S leave out what any
// reading of them does, and both the widest reading where they must not match. Look-ahead is read
// where it is not repeated. Refused by name: look-behind, atomic groups, word edges, anchors in the
// middle, nested classes.
#pragma once

#include <string_view>

#include "base/status.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

// How the text that matches is written down.
class TextStyle {
 public:
  virtual ~TextStyle() = default;
  virtual ExprId OneOf(const std::vector<CodeRange>& ranges) = 0;
  // Any text; used where an expression is not anchored.
  virtual ExprId Anything() = 0;
  // The texts of a graph over characters as they are.
  virtual Graph Written(Graph plain) = 0;
};

// `anywhere`: unless anchored by ^ and $ the expression need only be found in the text (as JSON
// Schema has it); otherwise it is the whole text, and ^ and $ at its ends say nothing.
// INVALID_ARGUMENT or UNIMPLEMENTED, naming the place.
absl::StatusOr<ExprId> AddPattern(std::string_view pattern, bool anywhere, TextStyle& style,
                                  Rules* rules);
// Of text as it is, without escapes.
absl::StatusOr<ExprId> AddPlainPattern(std::string_view pattern, bool anywhere, Rules* rules);
// Of text as it is: all that the expression is found in, by any reading of it.
absl::StatusOr<ExprId> AddForbiddenPattern(std::string_view pattern, Rules* rules);
// The whole text, as it is.
absl::StatusOr<Rules> ParsePattern(std::string_view pattern);

}  // namespace conclave::engine::grammar
