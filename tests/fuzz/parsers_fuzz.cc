// Any output, cut anywhere, through every family: the same events as in one piece, and finished
// calls hold valid JSON.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "engine/chat/parsers/parser.h"

namespace {

using namespace conclave::engine;

std::string Story(std::string_view family, std::string_view text, size_t piece, bool open) {
  ParserOptions options;
  options.tools = true;
  options.reasoning_open = open;
  options.make_id = [](std::string_view prefix) { return std::string(prefix) + "1"; };
  const auto parser = FamilyOf(family).make(options);
  std::vector<OutputEvent> events;
  for (size_t at = 0; at < text.size(); at += piece) {
    parser->Feed(text.substr(at, piece), &events);
  }
  parser->Finish(&events);
  std::string story;
  OutputEvent::Kind last = OutputEvent::Kind::kToolCallFailed;
  for (const OutputEvent& event : events) {
    if (event.kind == OutputEvent::Kind::kToolCallFinished) {
      const auto document = conclave::base::JsonDocument::Parse(event.text);
      CHECK(document.ok() && document->root().is_object());
    }
    const bool goes_on = event.kind == last && event.kind != OutputEvent::Kind::kToolCallStarted &&
                         event.kind != OutputEvent::Kind::kToolCallFinished &&
                         event.kind != OutputEvent::Kind::kToolCallFailed;
    if (!goes_on) {
      story += "\n" + std::to_string(static_cast<int>(event.kind)) + "/" +
               std::to_string(event.index) + "/" + event.name + ":";
    }
    story += event.text;
    last = event.kind;
  }
  return story;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  constexpr std::string_view kTemplates[] = {
      "<tool_call>",       "[TOOL_CALLS]", "<|python_tag|>",         "",
      "<function=",        "<arg_key>",    "<｜tool▁calls▁begin｜>", "<|tool_calls_section_begin|>",
      "[TOOL_CALLS][ARGS]"};
  const std::string_view family = kTemplates[data[0] % std::size(kTemplates)];
  const bool open = data[0] & 0x80;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  CHECK(Story(family, text, 1 + data[1] % 8, open) ==
        Story(family, text, std::max<size_t>(text.size(), 1), open));
  return 0;
}
