// Tool calls that are a tag, a name, a separator and a JSON object which ends by itself: the later
// models of Mistral ([TOOL_CALLS]name[ARGS]{…}, or [TOOL_CALLS]name[CALL_ID]id[ARGS]{…}).
#pragma once

#include <memory>
#include <string_view>

#include "engine/chat/parsers/parser.h"

namespace conclave::engine {

struct NamedForm {
  std::string_view begin;      // of a call
  std::string_view id;         // between name and id, which is read over; a call may have none
  std::string_view separator;  // in front of the arguments
};

std::unique_ptr<OutputParser> MakeNamedParser(const NamedForm& form, const ParserOptions& options);

}  // namespace conclave::engine
