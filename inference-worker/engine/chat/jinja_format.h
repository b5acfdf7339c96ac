// Python's two ways to format: "%5.1f" % value and "{:>5}".format(value).
#pragma once

#include <string_view>

#include "engine/chat/jinja_eval.h"

namespace conclave::engine::jinja {

// text % value. A tuple is several values, a dict also names them ("%(name)s").
absl::StatusOr<Value> FormatPercent(Interpreter& in, const Text& text, const Value& value);

// text.format(…): {}, {0}, {name}, with !r, !s and a format specification. Attributes and items of
// an argument, and fields inside a specification, are refused.
absl::StatusOr<Value> FormatBraces(Interpreter& in, const Text& text, const Arguments& arguments);

}  // namespace conclave::engine::jinja
