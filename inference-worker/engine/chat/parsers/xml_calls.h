// Tool calls with one tag per argument: Qwen3-Coder (<function=f><parameter=a>…) and GLM
// (<tool_call>f<arg_key>a</arg_key><arg_value>…). Values are bare text; their types come from the
// tool's schema, or from what they look like.
#pragma once

#include <memory>
#include <string_view>

#include "base/json.h"
#include "engine/chat/parsers/parser.h"

namespace conclave::engine {

struct XmlForm {
  std::string_view begin;  // "<tool_call>"
  std::string_view end;    // "</tool_call>"
  std::string_view
      name_begin;  // "" = the name stands right after `begin`, up to a line break or '<'
  std::string_view name_end;
  std::string_view key_begin;
  std::string_view key_end;
  std::string_view value_begin;  // "" = the value stands right after the key
  std::string_view value_end;
  std::string_view call_end;  // "" = `end` ends the call
};

// Whether values of a schema are written as they are: only strings are, everything else is JSON.
bool IsWrittenBare(base::JsonValue schema);

std::unique_ptr<OutputParser> MakeXmlParser(const XmlForm& form, const ParserOptions& options);

}  // namespace conclave::engine
