// A template's source as the tokens of Go's text/template: text, and what stands inside {{ }}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace conclave::engine::gotmpl {

enum class TokenKind {
  kText,
  kLeft,   // {{
  kRight,  // }}
  kSpace,
  kWord,      // a function's name or a keyword
  kField,     // .Name; text is "Name"
  kVariable,  // $name, or $ alone
  kDot,
  kNumber,    // as it is written
  kRune,      // 'x', as it is written
  kString,    // its value
  kOperator,  // | ( ) , := =
  kEnd,       // of the template; always the last token
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int line = 1;
};

// INVALID_ARGUMENT "line 3: …".
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// The value of 'x' without its quotes, with Go's escapes; false: not one character.
bool ReadRune(std::string_view quoted, int64_t* value);

// Whether the source has an action that only Go's language has: {{ .X }}, {{ $x }}, {{ if … }},
// {{/* … */}}, {{ json .X }}.
bool LooksLikeGo(std::string_view source);

}  // namespace conclave::engine::gotmpl
