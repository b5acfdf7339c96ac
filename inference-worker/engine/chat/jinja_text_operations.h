// Operations that methods and filters on strings share; all keep track of where bytes came from.
#pragma once

#include <string_view>
#include <vector>

#include "engine/chat/jinja_eval.h"

namespace conclave::engine::jinja {

// The part of `text` that `view`, a view into its bytes, covers.
Text PartOf(const Text& text, std::string_view view);

// With & < > " ' as HTML writes them.
Text Escaped(const Text& text);

// text.replace(old, with, count); count < 0 = all.
absl::StatusOr<Text> Replace(Interpreter& in, const Text& text, const Text& old, const Text& with,
                             int64_t count);
// text.split(separator, at_most); "" splits at runs of spaces. From the right with `from_right`.
absl::StatusOr<std::vector<Value>> Split(Interpreter& in, const Text& text,
                                         std::string_view separator, int64_t at_most,
                                         bool from_right);
// text.splitlines()
absl::StatusOr<std::vector<Value>> SplitLines(Interpreter& in, const Text& text, bool keep_ends);
// Joined by the separator; items that are no strings as str() gives them.
absl::StatusOr<Text> Join(Interpreter& in, const std::vector<Value>& items, const Text& separator);

}  // namespace conclave::engine::jinja
