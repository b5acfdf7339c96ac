// Tool calls as JSON between tags, the most common form: Hermes and Qwen
// (<tool_call>{…}</tool_call>), Mistral ([TOOL_CALLS][{…}, {…}]), Llama 3 (the whole answer is
// {…}).
#pragma once

#include <memory>
#include <string_view>

#include "engine/chat/parsers/parser.h"

namespace conclave::engine {

struct TaggedJsonForm {
  std::string_view begin;  // in front of a call or a list of calls
  std::string_view end;    // after it; "" = the JSON ends by itself
  bool bare = false;       // an answer that begins with '{' is a call without its tag
};

std::unique_ptr<OutputParser> MakeTaggedJsonParser(const TaggedJsonForm& form,
                                                   const ParserOptions& options);

// Everything is content.
std::unique_ptr<OutputParser> MakePlainParser();

}  // namespace conclave::engine
