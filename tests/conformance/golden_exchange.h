// One golden exchange: the bytes of its request, the answer taken apart, and the text of a response
// file. tests/golden/dialects/README.md describes both files.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace conclave::gateway {

// The bytes of "request". Host, Connection: close and Content-Length are added unless given.
std::string RequestBytes(base::JsonValue request);

struct Answer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // in order, without measured values
  std::string body;                                          // without chunk marks
  bool whole = false;  // as long as promised; a HEAD's has no body to be
};
Answer ParseAnswer(const std::string& bytes, bool is_head);

// What stands in a response file. Equal answers give equal text.
std::string AnswerText(const Answer& answer);
// The body that a response file stands for, byte for byte.
std::string BodyOf(base::JsonValue response);

}  // namespace conclave::gateway
