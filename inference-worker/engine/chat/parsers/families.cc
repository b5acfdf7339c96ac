// The families of chat markup and how each is read. The first row whose markup a template writes
// wins; the last fits all.
#include <utility>

#include "engine/chat/parsers/harmony.h"
#include "engine/chat/parsers/named_calls.h"
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
  return MakeReasoningParser(std::move(inner), options.reasoning_open, options.reasoning_tags);
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
ParserPtr MakeNamedMistral(const ParserOptions& options) {
  const NamedForm form{.begin = "[TOOL_CALLS]", .id = "[CALL_ID]", .separator = "[ARGS]"};
  return WithReasoning(options.tools ? MakeNamedParser(form, options) : MakePlainParser(), options);
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

// ---- how calls are written

constexpr CallSyntax kHermesCalls = {.separator = "\n",
                                     .call_begin = "<tool_call>\n{\"name\": \"",
                                     .name_end = "\", \"arguments\": ",
                                     .call_end = "}\n</tool_call>",
                                     .trigger = "<tool_call>",
                                     .tags = {"<tool_call>", "</tool_call>"}};

constexpr CallSyntax kMistralCalls = {.section_begin = "[TOOL_CALLS]",
                                      .section_end = "]",
                                      .separator = ", ",
                                      .call_begin = "{\"name\": \"",
                                      .name_end = "\", \"arguments\": ",
                                      .call_end = "}",
                                      .list = true,
                                      .spaced = true,
                                      .with_id = true,
                                      .tags = {"[TOOL_CALLS]"}};

// From 2025 on (Mistral Small 3.1, Magistral, Devstral).
constexpr CallSyntax kNamedMistralCalls = {.call_begin = "[TOOL_CALLS]",
                                           .name_end = "[ARGS]",
                                           .trigger = "[TOOL_CALLS]",
                                           .id_begin = "[CALL_ID]",
                                           .tags = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"}};

constexpr CallSyntax kGraniteCalls = {.section_begin = "<|tool_call|>",
                                      .section_end = "]",
                                      .separator = ", ",
                                      .call_begin = "{\"name\": \"",
                                      .name_end = "\", \"arguments\": ",
                                      .call_end = "}",
                                      .list = true,
                                      .spaced = true,
                                      .tags = {"<|tool_call|>"}};

constexpr CallSyntax kLlama3Calls = {.section_begin = "<|python_tag|>",
                                     .separator = "; ",
                                     .call_begin = "{\"name\": \"",
                                     .name_end = "\", \"parameters\": ",
                                     .call_end = "}",
                                     .bare = true,
                                     .tags = {"<|python_tag|>"}};

constexpr std::array<std::string_view, 8> kDeepseekTags = {
    "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>"};
// V3 and R1: the kind of a tool, then its name, and the arguments in a fence.
constexpr CallSyntax kDeepseekFencedCalls = {
    .section_begin = "<｜tool▁calls▁begin｜>",
    .section_end = "<｜tool▁calls▁end｜>",
    .separator = "\n",
    .call_begin = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    .name_end = "\n```json\n",
    .call_end = "\n```<｜tool▁call▁end｜>",
    .tags = kDeepseekTags};
// V3.1.
constexpr CallSyntax kDeepseekCalls = {.section_begin = "<｜tool▁calls▁begin｜>",
                                       .section_end = "<｜tool▁calls▁end｜>",
                                       .call_begin = "<｜tool▁call▁begin｜>",
                                       .name_end = "<｜tool▁sep｜>",
                                       .call_end = "<｜tool▁call▁end｜>",
                                       .tags = kDeepseekTags};

constexpr CallSyntax kKimiCalls = {
    .section_begin = "<|tool_calls_section_begin|>",
    .section_end = "<|tool_calls_section_end|>",
    .call_begin = "<|tool_call_begin|>functions.",
    .name_end = "<|tool_call_argument_begin|>",
    .call_end = "<|tool_call_end|>",
    .numbered = true,
    .tags = {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
             "<|tool_call_argument_begin|>", "<|tool_call_end|>"}};

constexpr CallSyntax kQwenCoderCalls = {.form = CallSyntax::Form::kTags,
                                        .separator = "\n",
                                        .call_begin = "<tool_call>\n<function=",
                                        .name_end = ">\n",
                                        .call_end = "</function>\n</tool_call>",
                                        .trigger = "<tool_call>",
                                        .key_begin = "<parameter=",
                                        .key_end = ">\n",
                                        .value_end = "</parameter>",
                                        .after_value = "\n",
                                        .value_on_lines = true,
                                        .tags = {"<tool_call>", "</tool_call>"}};

constexpr CallSyntax kGlmCalls = {.form = CallSyntax::Form::kTags,
                                  .separator = "\n",
                                  .call_begin = "<tool_call>",
                                  .name_end = "\n",
                                  .call_end = "</tool_call>",
                                  .trigger = "<tool_call>",
                                  .key_begin = "<arg_key>",
                                  .key_end = "</arg_key>\n<arg_value>",
                                  .value_end = "</arg_value>",
                                  .after_value = "\n",
                                  .tags = {"<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>",
                                           "<arg_value>", "</arg_value>"}};

constexpr CallSyntax kHarmonyCalls = {
    .form = CallSyntax::Form::kChannels,
    .tags = {"<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|constrain|>"}};

constexpr ChatFamily kLlama3 = {"llama3", MakeLlama3, &kLlama3Calls};

struct Row {
  std::string_view markup;   // in the template
  std::string_view besides;  // and this
  ChatFamily family;
};
constexpr Row kFamilies[] = {
    {"<|channel|>", "", {"harmony", MakeHarmonyParser, &kHarmonyCalls}},
    {"<｜tool▁calls▁begin｜>", "```json", {"deepseek-r1", MakeDeepseek, &kDeepseekFencedCalls}},
    {"<｜tool▁calls▁begin｜>", "", {"deepseek", MakeDeepseek, &kDeepseekCalls}},
    {"<|tool_calls_section_begin|>", "", {"kimi", MakeKimi, &kKimiCalls}},
    {"<function=", "", {"qwen-coder", MakeQwenCoder, &kQwenCoderCalls}},
    {"<arg_key>", "", {"glm", MakeGlm, &kGlmCalls}},
    {"[TOOL_CALLS]", "[ARGS]", {"mistral-named", MakeNamedMistral, &kNamedMistralCalls}},
    {"[TOOL_CALLS]", "", {"mistral", MakeMistral, &kMistralCalls}},
    {"<tool_call>", "", {"hermes", MakeHermes, &kHermesCalls}},
    {"<|tool_call|>", "", {"granite", MakeGranite, &kGraniteCalls}},
    {"<|python_tag|>", "", kLlama3},
    {"", "", {"plain", MakePlain, nullptr}},
};
constexpr ChatFamily kGeneric = {"generic", MakeHermes, &kHermesCalls};

}  // namespace

const ChatFamily& FamilyOf(std::string_view template_source) {
  for (const Row& row : kFamilies) {
    if (template_source.find(row.markup) != std::string_view::npos &&
        template_source.find(row.besides) != std::string_view::npos) {
      return row.family;
    }
  }
  return kFamilies[std::size(kFamilies) - 1].family;
}

const ChatFamily& BareJsonFamily() { return kLlama3; }

const ChatFamily& GenericToolFamily() { return kGeneric; }

}  // namespace conclave::engine
