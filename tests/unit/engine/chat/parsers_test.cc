#include <catch2/catch.hpp>

#include "base/json.h"
#include "engine/chat/parsers/parser.h"

namespace conclave::engine {
namespace {

using Kind = OutputEvent::Kind;

constexpr std::string_view kHermes = "{{ '<tool_call>' }}";
constexpr std::string_view kMistral = "[TOOL_CALLS]";
constexpr std::string_view kLlama3 = "<|python_tag|>";

ParserOptions Options(bool tools = true, bool open = false) {
  ParserOptions options;
  options.tools = tools;
  options.reasoning_open = open;
  options.make_id = [count = 0](std::string_view prefix) mutable {
    return std::string(prefix) + std::to_string(++count);
  };
  return options;
}

// One line of text for all that happened: adjacent pieces joined, arguments checked on the way.
std::string Story(const std::vector<OutputEvent>& events) {
  std::string story, arguments;
  Kind last = Kind::kToolCallFinished;
  for (const OutputEvent& event : events) {
    const bool goes_on =
        event.kind == last &&
        (last == Kind::kContent || last == Kind::kReasoning || last == Kind::kToolCallArguments);
    switch (event.kind) {
      case Kind::kContent:
        story += goes_on ? event.text : " C:" + event.text;
        break;
      case Kind::kReasoning:
        story += goes_on ? event.text : " R:" + event.text;
        break;
      case Kind::kReasoningEnded:
        continue;
      case Kind::kToolCallStarted:
        story += " S" + std::to_string(event.index) + ":" + event.name + "/" + event.id;
        arguments.clear();
        break;
      case Kind::kToolCallArguments:
        story += goes_on ? event.text : " A" + std::to_string(event.index) + ":" + event.text;
        arguments += event.text;
        break;
      case Kind::kToolCallFinished:
        story += " F" + std::to_string(event.index);
        CHECK(event.text == arguments);
        CHECK(base::JsonDocument::Parse(arguments).ok());
        break;
      case Kind::kToolCallFailed:
        story += " X" + std::to_string(event.index) + ":" + event.text;
        break;
    }
    last = event.kind;
  }
  return story.empty() ? story : story.substr(1);
}

std::string Parse(std::string_view family, const std::string& text, size_t piece,
                  const ParserOptions& options) {
  const auto parser = FamilyOf(family).make(options);
  std::vector<OutputEvent> events;
  for (size_t at = 0; at < text.size(); at += piece) {
    std::vector<OutputEvent> some;
    parser->Feed(text.substr(at, piece), &some);
    events.insert(events.end(), some.begin(), some.end());
  }
  parser->Finish(&events);
  return Story(events);
}

// The same story whatever the cuts.
void CheckStory(
    std::string_view family, const std::string& text, const std::string& story,
    ParserOptions (*options)() = [] { return Options(); }) {
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    INFO(text << " in pieces of " << piece);
    CHECK(Parse(family, text, piece, options()) == story);
  }
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const auto parser = FamilyOf(family).make(options());
    std::vector<OutputEvent> events;
    parser->Feed(text.substr(0, cut), &events);
    parser->Feed(text.substr(cut), &events);
    parser->Finish(&events);
    INFO(text << " cut at " << cut);
    CHECK(Story(events) == story);
  }
}

}  // namespace

TEST_CASE("content, calls and content again") {
  CheckStory(kHermes,
             "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n"
             "</tool_call>\nDone.",
             "C:Let me see. S0:f/call_1 A0:{\"a\": 1} F0 C:Done.");
  CheckStory(kHermes,
             "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>"
             "{\"name\":\"g\",\"arguments\":{\"x\":[1,{\"y\":\"}\"}]}}</tool_call>",
             "S0:f/call_1 A0:{} F0 S1:g/call_2 A1:{\"x\":[1,{\"y\":\"}\"}]} F1");
  CheckStory(kHermes, "a < b and <tool> and <tool_calls", "C:a < b and <tool> and <tool_calls");
  CheckStory(kHermes, "trailing spaces  \n", "C:trailing spaces  \n");
}

TEST_CASE("arguments may come first, be missing, or be written as a string") {
  CheckStory(kHermes, "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>",
             "S0:f/call_1 A0:{\"a\": 1} F0");
  CheckStory(kHermes, "<tool_call>{\"name\": \"f\"}</tool_call>", "S0:f/call_1 A0:{} F0");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":null}</tool_call>",
             "S0:f/call_1 A0:{} F0");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call>",
             "S0:f/call_1 A0:{\"a\":1} F0");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"parameters\":{\"a\":1}}</tool_call>",
             "S0:f/call_1 A0:{\"a\":1} F0");
}

TEST_CASE("a closing tag inside a string is text") {
  CheckStory(
      kHermes,
      "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"x</tool_call>\\\"y\"}}</tool_call>!",
      "S0:f/call_1 A0:{\"a\":\"x</tool_call>\\\"y\"} F0 C:!");
}

TEST_CASE("line breaks inside strings are repaired, a brace too many is forgiven") {
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"x\ny\tz\"}}</tool_call>",
             "S0:f/call_1 A0:{\"a\":\"x\\ny\\tz\"} F0");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":{}}}</tool_call>ok",
             "S0:f/call_1 A0:{} F0 C:ok");
}

TEST_CASE("a broken call fails with what was written") {
  CheckStory(kHermes, "<tool_call>hello</tool_call> you", "X-1:hello C: you");
  CheckStory(kHermes, "<tool_call>{\"arguments\":{}}</tool_call>", "X-1:{\"arguments\":{}}");
  CheckStory(kHermes, "<tool_call>{\"name\":3,\"arguments\":{}}</tool_call>.",
             "X-1:{\"name\":3,\"arguments\":{}} C:.");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1</tool_call>after",
             "S0:f/call_1 A0:{\"a\":1 X0:{\"name\":\"f\",\"arguments\":{\"a\":1 C:after");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":tru}}</tool_call>",
             "S0:f/call_1 A0:{\"a\":tru} X0:{\"name\":\"f\",\"arguments\":{\"a\":tru}}");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>",
             "S0:f/call_1 A0:[1] X0:{\"name\":\"f\",\"arguments\":[1]}");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\"",
             "S0:f/call_1 A0:{\"a\" X0:{\"name\":\"f\",\"arguments\":{\"a\"");
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\" x}</tool_call>",
             "S0:f/call_1 X0:{\"name\":\"f\" x}");
  CheckStory(kHermes, "<tool_call>{\"name\":\"\"}</tool_call>", "X-1:{\"name\":\"\"}");
  CheckStory(kHermes, "<tool_call>", "X-1:");
}

TEST_CASE("arguments stream as they come") {
  const auto parser = FamilyOf(kHermes).make(Options());
  std::vector<OutputEvent> events;
  parser->Feed("<tool_call>{\"name\": \"f\", \"arguments\": {\"city\": \"Par", &events);
  REQUIRE(events.size() == 2);
  CHECK(events[0].kind == Kind::kToolCallStarted);
  CHECK(events[0].text.empty());
  CHECK(events[1].kind == Kind::kToolCallArguments);
  CHECK(events[1].text == "{\"city\": \"Par");
  events.clear();
  parser->Feed("is\"", &events);
  REQUIRE(events.size() == 1);
  CHECK(events[0].text == "is\"");
}

TEST_CASE("without tools the markup is content") {
  CheckStory(kHermes, "<tool_call>{\"name\":\"f\"}</tool_call>",
             "C:<tool_call>{\"name\":\"f\"}</tool_call>", [] { return Options(false); });
}

TEST_CASE("reasoning stands apart") {
  CheckStory(kHermes, "<think>\nhm, <b>\n</think>\n\nYes.", "R:hm, <b> C:Yes.");
  CheckStory(kHermes, "\n<think></think>Yes.", "C:Yes.");
  CheckStory(kHermes, "<think>never closed", "R:never closed");
  CheckStory(kHermes, "<thin", "C:<thin");
  CheckStory(kHermes, "Say <think> aloud", "C:Say <think> aloud");
  CheckStory(kHermes, "<think>x</think>\n<tool_call>{\"name\":\"f\"}</tool_call>",
             "R:x S0:f/call_1 A0:{} F0");
  const auto open = [] { return Options(true, true); };
  CheckStory(kHermes, "hm\n</think>\n\nYes.", "R:hm C:Yes.", open);
  CheckStory(kHermes, "<think>\nhm</think>Yes.", "R:hm C:Yes.", open);
  CheckStory(kHermes, "hm  \n", "R:hm  \n", open);
  const auto unsplit = [] {
    ParserOptions options = Options();
    options.split_reasoning = false;
    return options;
  };
  CheckStory(kHermes, "<think>hm</think>Yes.", "C:<think>hm</think>Yes.", unsplit);
  CHECK(EndsInOpenReasoning("<|im_start|>assistant\n<think>\n"));
  CHECK_FALSE(EndsInOpenReasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
}

TEST_CASE("Magistral reasons in tags of its own") {
  static constexpr char kMagistral[] = "{{ '[THINK]' }}[TOOL_CALLS]{{ name }}[ARGS]";
  const auto tagged = [] {
    ParserOptions options = Options();
    options.reasoning_tags = ReasoningTagsOf(kMagistral);
    return options;
  };
  CheckStory(kMagistral, "[THINK]a [b] or <think>?[/THINK]Yes.", "R:a [b] or <think>? C:Yes.",
             tagged);
  CheckStory(kMagistral, "[THINK]hm[/THINK]\n[TOOL_CALLS]f[ARGS]{\"a\": 1}",
             "R:hm S0:f/call_1 A0:{\"a\": 1} F0", tagged);
  CheckStory(kMagistral, "[THINK]never closed[/THIN", "R:never closed[/THIN", tagged);
  CheckStory(kMagistral, "<think>x</think>[THI", "C:<think>x</think>[THI", tagged);
  CheckStory(kMagistral, "hm[/THINK]Yes.", "R:hm C:Yes.", [] {
    ParserOptions options = Options(true, true);
    options.reasoning_tags = ReasoningTagsOf(kMagistral);
    return options;
  });
  CHECK(ReasoningTagsOf("<think>").end == "</think>");
  CHECK(EndsInOpenReasoning("[/INST][THINK]", ReasoningTagsOf(kMagistral)));
  CHECK_FALSE(EndsInOpenReasoning("[/INST]<think>", ReasoningTagsOf(kMagistral)));
}

TEST_CASE("tags may come as control tokens, others never become content") {
  const auto parser = FamilyOf(kHermes).make(Options());
  std::vector<OutputEvent> events;
  parser->FeedControl("<think>", &events);
  parser->Feed("hm", &events);
  parser->FeedControl("</think>", &events);
  parser->FeedControl("<|im_start|>", &events);
  parser->FeedControl("<tool_call>", &events);
  parser->Feed("{\"name\":\"f\",\"arguments\":{}}", &events);
  parser->FeedControl("</tool_call>", &events);
  parser->Feed("x", &events);
  parser->FeedControl("<|im_end|>", &events);
  parser->Finish(&events);
  CHECK(Story(events) == "R:hm S0:f/call_1 A0:{} F0 C:x");
}

TEST_CASE("Mistral writes a list of calls") {
  CheckStory(kMistral,
             "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{\"a\":1}}, "
             "{\"name\":\"g\",\"arguments\":{}}]",
             "S0:f/call_1 A0:{\"a\":1} F0 S1:g/call_2 A1:{} F1");
  CheckStory(kMistral, "plain [TOOL", "C:plain [TOOL");
}

TEST_CASE("later models of Mistral write a name, perhaps an id, and the arguments") {
  constexpr std::string_view kNamed = "[TOOL_CALLS]{{ name }}[ARGS]";
  CheckStory(kNamed, "Hm.\n[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]abc123XYZ[ARGS]{}",
             "C:Hm. S0:f/call_1 A0:{\"a\": 1} F0 S1:g/call_2 A1:{} F1");
  // A tag within a string is text; so are braces.
  CheckStory(kNamed, "[TOOL_CALLS]f[ARGS]{\"a\":\"[TOOL_CALLS]}\\\"{\"} done",
             "S0:f/call_1 A0:{\"a\":\"[TOOL_CALLS]}\\\"{\"} F0 C:done");
  CheckStory(kNamed, "plain [TOOL", "C:plain [TOOL");
  CheckStory(kNamed, "[TOOL_CALLS]f[ARGS]nothing[TOOL_CALLS]g[ARGS]{}",
             "X-1:fnothing S0:g/call_1 A0:{} F0");
}

TEST_CASE("Llama 3 answers with the bare object, and a JSON answer stays content") {
  CheckStory(kLlama3, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
             "S0:f/call_1 A0:{\"a\": 1} F0");
  CheckStory(kLlama3, "{\"name\":\"f\",\"parameters\":{}}; {\"name\":\"g\",\"parameters\":{}}",
             "S0:f/call_1 A0:{} F0 S1:g/call_2 A1:{} F1");
  CheckStory(kLlama3, "{\"answer\": 42}", "C:{\"answer\": 42}");
  CheckStory(kLlama3, "{not json", "C:{not json");
  CheckStory(kLlama3, "Hello", "C:Hello");
  CheckStory(kLlama3, "<|python_tag|>{\"name\":\"f\",\"parameters\":{}}", "S0:f/call_1 A0:{} F0");
}

TEST_CASE("DeepSeek and Kimi write calls in sections") {
  constexpr std::string_view kDeepseek = "<｜tool▁calls▁begin｜>";
  CheckStory(kDeepseek,
             "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}"
             "<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
             "<｜tool▁calls▁end｜>",
             "C:Hm. S0:f/call_1 A0:{\"a\": 1} F0 S1:g/call_2 A1:{} F1");
  CheckStory(
      kDeepseek,
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n"
      "```<｜tool▁call▁end｜><｜tool▁calls▁end｜>x",
      "S0:f/call_1 A0:{\"a\": 1} F0 C:x");
  CheckStory(kDeepseek,
             "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{oops<｜tool▁call▁end｜>",
             "S0:f/call_1 A0:{oops} X0:f{oops");
  CheckStory(
      "<|tool_calls_section_begin|>",
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
      "{\"a\":\"b\"}<|tool_call_end|><|tool_calls_section_end|>",
      "S0:f/call_1 A0:{\"a\":\"b\"} F0");
}

TEST_CASE("Qwen3-Coder and GLM write one tag per argument") {
  const auto typed = [] {
    ParserOptions options = Options();
    options.schemas = {{"f", R"({"properties":{"zip":{"type":"string"}}})"}};
    return options;
  };
  CheckStory(
      "<function=",
      "Look:\n<tool_call>\n<function=f>\n<parameter=zip>\n01234\n</parameter>\n"
      "<parameter=n>\n5\n</parameter>\n<parameter=s>\na \"b\"\nc\n</parameter>\n"
      "</function>\n</tool_call>\nok",
      "C:Look: S0:f/call_1 A0:{\"zip\": \"01234\", \"n\": 5, \"s\": \"a \\\"b\\\"\\u000ac\"} "
      "F0 C:ok",
      typed);
  CheckStory("<function=", "<tool_call><function=f></function></tool_call>",
             "S0:f/call_1 A0:{} F0");
  CheckStory("<function=", "<tool_call>what</tool_call>.", "X-1:what C:.");
  CheckStory("<function=", "<tool_call><function=f><parameter=a>1", "S0:f/call_1 X0:f");
  CheckStory(
      "<arg_key>",
      "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>[1, 2]</arg_value>\n<arg_key>b</arg_key>"
      "<arg_value>x y</arg_value>\n</tool_call>",
      "S0:f/call_1 A0:{\"a\": [1,2], \"b\": \"x y\"} F0");
}

TEST_CASE("gpt-oss speaks in channels") {
  const auto parser = FamilyOf("<|channel|>").make(Options());
  std::vector<OutputEvent> events;
  const auto say = [&](std::string_view header, std::string_view body, std::string_view end) {
    parser->FeedControl("<|channel|>", &events);
    parser->Feed(header, &events);
    parser->FeedControl("<|message|>", &events);
    for (const char c : body) parser->Feed(std::string_view(&c, 1), &events);
    parser->FeedControl(end, &events);
    parser->FeedControl("<|start|>", &events);
    parser->Feed("assistant", &events);
  };
  say("analysis", "hm", "<|end|>");
  say("commentary to=functions.f ", "{\"a\":1}", "<|call|>");
  say("commentary", "Wait.", "<|end|>");
  say("final", "Done.", "<|return|>");
  parser->Finish(&events);
  CHECK(Story(events) == "R:hm S0:f/call_1 A0:{\"a\":1} F0 C:Wait.Done.");
  const auto plain = FamilyOf("<|channel|>").make(Options());
  events.clear();
  plain->Feed("no header", &events);
  plain->Finish(&events);
  CHECK(Story(events) == "C:no header");
}

TEST_CASE("a family is told by the template's markup") {
  CHECK(FamilyOf("x <tool_call> y").name == "hermes");
  CHECK(FamilyOf("[TOOL_CALLS]").name == "mistral");
  CHECK(FamilyOf("hello").name == "plain");
  CHECK(FamilyOf("hello").calls == nullptr);
}

}  // namespace conclave::engine
