// The families of chat markup and how each is read. The first row whose markup a template writes
// wins; the last fits all.
#include <utility>

#include "engine/chat/parsers/parser.h"
#include "engine/chat/parsers/reasoning.h"
#include "engine/chat/parsers/tagged_json.h"

namespace conclave::engine {
namespace {

using ParserPtr = std::unique_ptr<OutputParser>;

// Reasoning, if it is wanted apart, stands in front of whatever the family does.
ParserPtr WithReasoning(ParserPtr inner, const ParserOptions& options) {
  if (!options.split_reasoning) return inner;
  return MakeReasoningParser(std::move(inner), options.reasoning_open);
}

ParserPtr MakePlain(const ParserOptions& options) {
  return WithReasoning(MakePlainParser(), options);
}

ParserPtr MakeJson(const TaggedJsonForm& form, const ParserOptions& options) {
  return WithReasoning(options.tools ? MakeTaggedJsonParser(form, options) : MakePlainParser(),
                       options);
}
ParserPtr MakeHermes(const ParserOptions& options) {
  return MakeJson({.begin = "<tool_call>", .end = "</tool_call>"}, options);
}
ParserPtr MakeMistral(const ParserOptions& options) {
  return MakeJson({.begin = "[TOOL_CALLS]", .end = ""}, options);
}
ParserPtr MakeGranite(const ParserOptions& options) {
  return MakeJson({.begin = "<|tool_call|>", .end = ""}, options);
}
ParserPtr MakeLlama3(const ParserOptions& options) {
  return MakeJson({.begin = "<|python_tag|>", .end = "", .bare = true}, options);
}

struct Row {
  std::string_view markup;  // in the template
  ChatFamily family;
};
constexpr Row kFamilies[] = {
    {"[TOOL_CALLS]", {"mistral", MakeMistral, true}},
    {"<tool_call>", {"hermes", MakeHermes, true}},
    {"<|tool_call|>", {"granite", MakeGranite, true}},
    {"<|python_tag|>", {"llama3", MakeLlama3, true}},
    {"", {"plain", MakePlain, false}},
};

}  // namespace

const ChatFamily& FamilyOf(std::string_view template_source) {
  for (const Row& row : kFamilies) {
    if (template_source.find(row.markup) != std::string_view::npos) return row.family;
  }
  return kFamilies[std::size(kFamilies) - 1].family;
}

}  // namespace conclave::engine
