// A template's source as tokens: text, and what stands inside {{ }} and {% %}. Works as Jinja does
// with trim_blocks and lstrip_blocks set, which is how chat templates are meant to be read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace conclave::engine::jinja {

enum class TokenKind {
  kData,         // text outside all tags
  kOutputBegin,  // {{
  kOutputEnd,    // }}
  kBlockBegin,   // {%
  kBlockEnd,     // %}
  kName,
  kInteger,
  kFloat,
  kString,
  kOperator,  // text is the operator
  kEnd,       // of the template; always the last token
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // of strings and data: the value itself; of integers their digits
  int line = 1;
  double real = 0;
};

// INVALID_ARGUMENT "line 3: …".
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// A failure at a line; a status that already names one stays as it is.
absl::Status AtLine(int line, const absl::Status& status);
absl::Status FailAt(int line, std::string_view message);

}  // namespace conclave::engine::jinja
