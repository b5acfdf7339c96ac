// Tool calls in sections of special tokens, each call a name, a separator and its arguments:
// DeepSeek and Kimi.
#pragma once

#include <memory>
#include <string_view>

#include "engine/chat/parsers/parser.h"

namespace conclave::engine {

struct SectionForm {
  std::string_view begin;  // of the section
  std::string_view end;
  std::string_view call_begin;
  std::string_view separator;  // between name and arguments
  std::string_view call_end;
};

std::unique_ptr<OutputParser> MakeSectionParser(const SectionForm& form,
                                                const ParserOptions& options);

}  // namespace conclave::engine
