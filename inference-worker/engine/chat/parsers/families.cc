// The families of chat markup and how each is read. The first row whose markup a template writes
// wins; the last fits all.
#include <utility>

#include "engine/chat/parsers/harmony.h"
#include "engine/chat/parsers/parser.h"
#include "engine/chat/parsers/reasoning.h"
#include "engine/chat/parsers/section_calls.h"
#include "engine/chat/parsers/tagged_json.h"
#include "engine/chat/parsers/xml_calls.h"

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

ParserPtr MakeSections(const SectionForm& form, const ParserOptions& options) {
  return WithReasoning(options.tools ? MakeSectionParser(form, options) : MakePlainParser(),
                       options);
}
ParserPtr MakeDeepseek(const ParserOptions& options) {
  return MakeSections({.begin = "<｜tool▁calls▁begin｜>",
                       .end = "<｜tool▁calls▁end｜>",
                       .call_begin = "<｜tool▁call▁begin｜>",
                       .separator = "<｜tool▁sep｜>",
                       .call_end = "<｜tool▁call▁end｜>"},
                      options);
}
ParserPtr MakeKimi(const ParserOptions& options) {
  return MakeSections({.begin = "<|tool_calls_section_begin|>",
                       .end = "<|tool_calls_section_end|>",
                       .call_begin = "<|tool_call_begin|>",
                       .separator = "<|tool_call_argument_begin|>",
                       .call_end = "<|tool_call_end|>"},
                      options);
}

ParserPtr MakeXml(const XmlForm& form, const ParserOptions& options) {
  return WithReasoning(options.tools ? MakeXmlParser(form, options) : MakePlainParser(), options);
}
ParserPtr MakeQwenCoder(const ParserOptions& options) {
  return MakeXml({.begin = "<tool_call>",
                  .end = "</tool_call>",
                  .name_begin = "<function=",
                  .name_end = ">",
                  .key_begin = "<parameter=",
                  .key_end = ">",
                  .value_begin = "",
                  .value_end = "</parameter>",
                  .call_end = "</function>"},
                 options);
}
ParserPtr MakeGlm(const ParserOptions& options) {
  return MakeXml({.begin = "<tool_call>",
                  .end = "</tool_call>",
                  .name_begin = "",
                  .name_end = "",
                  .key_begin = "<arg_key>",
                  .key_end = "</arg_key>",
                  .value_begin = "<arg_value>",
                  .value_end = "</arg_value>",
                  .call_end = ""},
                 options);
}

struct Row {
  std::string_view markup;  // in the template
  ChatFamily family;
};
constexpr Row kFamilies[] = {
    {"<|channel|>", {"harmony", MakeHarmonyParser, true}},
    {"<｜tool▁calls▁begin｜>", {"deepseek", MakeDeepseek, true}},
    {"<|tool_calls_section_begin|>", {"kimi", MakeKimi, true}},
    {"<function=", {"qwen-coder", MakeQwenCoder, true}},
    {"<arg_key>", {"glm", MakeGlm, true}},
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
