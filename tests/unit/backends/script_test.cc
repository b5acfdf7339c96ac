#include "backends/script.h"

#include <catch2/catch.hpp>
#include <chrono>

#include "base/status.h"

namespace conclave::backends {
namespace {

GenerateRequest Ask(std::string content) {
  GenerateRequest request;
  ChatPrompt chat;
  chat.conversation.messages.push_back({.role = "user", .content = std::move(content)});
  request.prompt = std::move(chat);
  return request;
}

std::string TextOf(const ScriptAnswer& answer) {
  std::string text;
  for (const ScriptAction& action : answer.actions) {
    if (action.kind == ScriptAction::Kind::kText) text += action.text;
  }
  return text;
}

ScriptAnswer AnswerTo(const char* script_json, const GenerateRequest& request, uint64_t seed = 1) {
  const Script script = *ParseScript(script_json);
  const ScriptPrompt prompt = *ReadScriptPrompt(request);
  const ScriptRule* rule = nullptr;
  for (const ScriptRule& candidate : script.rules) {
    if (rule == nullptr && Matches(candidate, prompt)) rule = &candidate;
  }
  return MakeAnswer(rule, prompt, request.stop, seed, 1000);
}

}  // namespace

TEST_CASE("a misspelt field of a script is refused with its place") {
  const auto script = ParseScript(R"({"rules": [{"steps": [{"txet": "hello"}]}]})");
  REQUIRE_FALSE(script.ok());
  CHECK(script.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(script.status().message()).find("rules[0].steps[0].txet") != std::string::npos);
}

TEST_CASE("a script refuses a failure whose code has no such name") {
  CHECK_FALSE(ParseScript(R"({"rules": [{"refuse": {"code": "NOPE"}}]})").ok());
  CHECK_FALSE(ParseScript(R"({"slots": 0})").ok());
  CHECK_FALSE(ParseScript(R"({"rules": [{"steps": [{"text": "a", "hang": true}]}]})").ok());
}

TEST_CASE("common steps bring the tokens of all answers at the same moments") {
  using std::chrono::milliseconds;
  const Script script = *ParseScript(R"({"step_ms": 20})");
  CHECK(script.StepAfter(milliseconds(41)) == milliseconds(60));
  CHECK(script.StepAfter(milliseconds(59)) == milliseconds(60));
  CHECK(script.StepAfter(milliseconds(60)) == milliseconds(80));
  CHECK(ParseScript("{}")->StepAfter(milliseconds(41)) == milliseconds(41));
  CHECK_FALSE(ParseScript(R"({"step_ms": -1})").ok());
}

TEST_CASE("without a rule the last message is echoed") {
  const ScriptAnswer answer = AnswerTo("{}", Ask("grüße 🙂"));
  CHECK(TextOf(answer) == "grüße 🙂");
  CHECK(answer.actions.size() == 7);
  CHECK(answer.actions[6].id == 0x1F642);
  CHECK(answer.reason == Finished::Reason::kStop);
}

TEST_CASE("counts name the prompt they belong to") {
  const char* script = R"({"rules": [{"mode": "counts", "count": 3}]})";
  CHECK(TextOf(AnswerTo(script, Ask("count for client-17"))) ==
        "client-17:0 client-17:1 client-17:2");
}

TEST_CASE("dice depend on the seed and on nothing else") {
  const char* script = R"({"rules": [{"mode": "dice", "count": 20}]})";
  CHECK(TextOf(AnswerTo(script, Ask("a"), 7)) == TextOf(AnswerTo(script, Ask("b"), 7)));
  CHECK(TextOf(AnswerTo(script, Ask("a"), 7)) != TextOf(AnswerTo(script, Ask("a"), 8)));
}

TEST_CASE("conditions of a rule must all hold") {
  const char* script = R"({"rules": [
    {"when": {"last_contains": "weather", "has_tools": true}, "steps": [{"text": "tool"}]},
    {"when": {"last_contains": "weather"}, "steps": [{"text": "no tool"}]}]})";
  GenerateRequest request = Ask("the weather?");
  CHECK(TextOf(AnswerTo(script, request)) == "no tool");
  std::get<ChatPrompt>(request.prompt).conversation.tools.push_back({.name = "f"});
  CHECK(TextOf(AnswerTo(script, request)) == "tool");
}

TEST_CASE("the earliest stop string ends the text before itself") {
  GenerateRequest request = Ask("one two three");
  request.stop.strings = {"three", "wo"};
  const ScriptAnswer answer = AnswerTo("{}", request);
  CHECK(TextOf(answer) == "one t");
  CHECK(answer.matched_stop == "wo");
}

TEST_CASE("max_tokens ends with length, and before a later stop string") {
  GenerateRequest request = Ask("one two three");
  request.stop.strings = {"three"};
  request.stop.max_tokens = 3;
  const ScriptAnswer answer = AnswerTo("{}", request);
  CHECK(TextOf(answer) == "one");
  CHECK(answer.reason == Finished::Reason::kLength);
  CHECK(answer.matched_stop.empty());
}

TEST_CASE("a forced tool is called even by an echo") {
  GenerateRequest request = Ask("hello");
  auto& chat = std::get<ChatPrompt>(request.prompt);
  chat.conversation.tools.push_back({.name = "get_weather"});
  chat.tool_choice = {.mode = ToolChoice::Mode::kNamed, .name = "get_weather"};
  const ScriptAnswer answer = AnswerTo("{}", request);
  REQUIRE(answer.actions.size() == 4);
  CHECK(answer.actions.front().text == "get_weather");
  CHECK(answer.actions.back().id == kScriptCallEnd);
  CHECK(answer.reason == Finished::Reason::kToolCalls);
}

TEST_CASE("ids that are no code points are refused by name") {
  GenerateRequest request;
  request.prompt = TokenPrompt{{65, -1}};
  const auto prompt = ReadScriptPrompt(request);
  REQUIRE_FALSE(prompt.ok());
  CHECK(base::ParamOf(prompt.status()) == "prompt");
}

TEST_CASE("code points survive the way to text and back; broken bytes become U+FFFD") {
  const std::string text = "aé漢🙂";
  std::string back;
  for (const TokenId id : CodePoints(text)) back += CodePointText(id);
  CHECK(back == text);
  CHECK(CodePoints("\xC3(") == std::vector<TokenId>{0xFFFD, '('});
  CHECK(CodePointText(0xD800) == "\uFFFD");
}

TEST_CASE("ids of tool calls repeat for equal seeds and differ otherwise") {
  CHECK(ToolCallId(1, 2, 0) == ToolCallId(1, 2, 0));
  CHECK(ToolCallId(1, 2, 0) != ToolCallId(1, 2, 1));
  CHECK(ToolCallId(1, 2, 0) != ToolCallId(1, 3, 0));
  CHECK(ToolCallId(1, 2, 0).size() == 5 + 24);
}

}  // namespace conclave::backends
