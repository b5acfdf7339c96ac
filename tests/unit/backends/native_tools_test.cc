// tool_choice, formats and the budget of reasoning on a model of random weights: whatever it would
// like to say, it says what was asked for.
#include <catch2/catch.hpp>

#include "base/json.h"
#include "base/status.h"
#include "unit/backends/native_fixture.h"
#include "unit/backends/recording_sink.h"

namespace conclave::backends {
namespace {

constexpr char kTicket[] =
    R"({"type":"object","properties":{"seat":{"enum":["aisle","window"]},)"
    R"("bags":{"type":"integer","minimum":0,"maximum":3}},"required":["seat","bags"],)"
    R"("additionalProperties":false})";
constexpr char kAnswer[] =
    R"({"type":"object","properties":{"n":{"enum":[1,2,3]}},"required":["n"],)"
    R"("additionalProperties":false})";

constexpr int32_t kContext = 4'096;

const TinyModelFile& File() {
  static const TinyModelFile file(kTinyTemplate, kContext);
  return file;
}

GenerateRequest Ask(ToolChoice choice, uint64_t seed, bool strict = false) {
  static int counter = 0;
  GenerateRequest request;
  request.id = "t" + std::to_string(++counter);
  ChatPrompt chat;
  chat.conversation.messages.push_back({.role = "user", .content = "x"});
  chat.conversation.tools.push_back({.name = "book",
                                     .description = "",
                                     .parameters = kTicket,
                                     .strict = strict,
                                     .place = "tools[0].function.parameters"});
  chat.conversation.tools.push_back(
      {.name = "ping", .description = "", .parameters = "", .strict = strict, .place = ""});
  chat.tool_choice = std::move(choice);
  // Random weights would begin to reason now and then in a free answer, and not end.
  chat.conversation.template_variables.emplace_back("enable_thinking", "false");
  request.prompt = std::move(chat);
  request.stop.max_tokens = 1'000;
  request.sampling.temperature = 1.0f;
  request.sampling.seed = seed;
  return request;
}

ChatPrompt& Chat(GenerateRequest& request) { return std::get<ChatPrompt>(request.prompt); }

struct Outcome {
  Finished finished;
  std::string text, reasoning;
  struct Call {
    std::string name, arguments;
    bool whole = false;
  };
  std::vector<Call> calls;
};

Outcome Run(Backend& backend, GenerateRequest request) {
  const auto sink = std::make_shared<RecordingSink>();
  const auto accepted = backend.Generate(std::move(request), sink);
  INFO(accepted.status().ToString());
  REQUIRE(accepted.ok());
  REQUIRE(sink->WaitForEnd());
  INFO(sink->failure().ToString());
  REQUIRE(sink->finished().has_value());
  Outcome outcome{.finished = *sink->finished(), .text = {}, .reasoning = {}, .calls = {}};
  for (const Delta& delta : sink->deltas()) {
    outcome.text += delta.text;
    outcome.reasoning += delta.reasoning;
    if (!delta.tool_call) continue;
    if (delta.tool_call->state == ToolCallDelta::State::kStarted) {
      outcome.calls.push_back({.name = delta.tool_call->name, .arguments = {}});
    }
    outcome.calls.back().arguments += delta.tool_call->arguments;
    if (delta.tool_call->state == ToolCallDelta::State::kSucceeded)
      outcome.calls.back().whole = true;
  }
  return outcome;
}

void CheckCall(const Outcome::Call& call) {
  CHECK(call.whole);
  INFO(call.name << call.arguments);
  if (call.name == "ping") {
    CHECK(call.arguments == "{}");
    return;
  }
  CHECK(call.name == "book");
  const auto document = base::JsonDocument::Parse(call.arguments);
  REQUIRE(document.ok());
  CHECK(document->root().size() == 2);
  const std::string seat = document->root().Get("seat").AsString().value_or("");
  CHECK((seat == "aisle" || seat == "window"));
  CHECK(document->root().Get("bags").AsInt(0, 3).ok());
}

}  // namespace

TEST_CASE("a required call comes, and keeps to its schema") {
  const auto backend = File().Open();
  for (uint64_t seed = 0; seed < 12; ++seed) {
    GenerateRequest request = Ask({.mode = ToolChoice::Mode::kRequired, .name = ""}, seed);
    Chat(request).parallel_tool_calls = false;
    const Outcome outcome = Run(*backend, std::move(request));
    CHECK(outcome.finished.reason == Finished::Reason::kToolCalls);
    REQUIRE(outcome.calls.size() == 1);
    CheckCall(outcome.calls[0]);
    CHECK(outcome.text.empty());
  }
}

TEST_CASE("a named call is of that tool, alone, and continues where it was interrupted") {
  const auto backend = File().Open();
  for (const char* name : {"book", "ping"}) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const GenerateRequest request = Ask({.mode = ToolChoice::Mode::kNamed, .name = name}, seed);
      const Outcome outcome = Run(*backend, request);
      CHECK(outcome.finished.reason == Finished::Reason::kToolCalls);
      REQUIRE(outcome.calls.size() == 1);
      CHECK(outcome.calls[0].name == name);
      CheckCall(outcome.calls[0]);
    }
  }
}

TEST_CASE("a forced call that reasons first has a budget for it") {
  const auto backend = File().Open();
  for (const int budget : {0, 1, 9}) {
    GenerateRequest request = Ask({.mode = ToolChoice::Mode::kNamed, .name = "book"}, 5);
    Chat(request).conversation.template_variables = {{"enable_thinking", "true"}};
    Chat(request).reasoning_budget = budget;
    request.sampling.logit_bias = {{260, -100.0f}};  // </think> comes when it is forced only
    const Outcome outcome = Run(*backend, std::move(request));
    INFO(budget << ": " << outcome.reasoning);
    CHECK(outcome.finished.usage.reasoning_tokens == budget);
    CHECK(outcome.finished.reason == Finished::Reason::kToolCalls);
    REQUIRE(outcome.calls.size() == 1);
    CheckCall(outcome.calls[0]);
  }
}

TEST_CASE("reasoning ends at its budget, and the answer goes on") {
  const auto backend = File().Open();
  GenerateRequest request = Ask({.mode = ToolChoice::Mode::kNone, .name = ""}, 3);
  Chat(request).conversation.tools.clear();
  Chat(request).conversation.template_variables = {{"enable_thinking", "true"}};
  Chat(request).reasoning_budget = 12;
  request.sampling.logit_bias = {{260, -100.0f}};
  request.stop.max_tokens = 40;
  request.stop.ignore_eos = true;
  const Outcome outcome = Run(*backend, request);
  CHECK(outcome.finished.usage.reasoning_tokens == 12);
  CHECK_FALSE(outcome.reasoning.empty());
  CHECK_FALSE(outcome.text.empty());
  CHECK(outcome.finished.usage.completion_tokens == 40);
}

TEST_CASE("a strict tool holds the calls that the model starts by itself") {
  const auto backend = File().Open();
  int calls = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    GenerateRequest request = Ask({.mode = ToolChoice::Mode::kAuto, .name = ""}, seed, true);
    Chat(request).parallel_tool_calls = false;
    // Random weights will not start one, so they are led to.
    request.sampling.logit_bias = {{261, 100.0f}};
    const Outcome outcome = Run(*backend, std::move(request));
    for (const Outcome::Call& call : outcome.calls) CheckCall(call);
    calls += static_cast<int>(outcome.calls.size());
  }
  CHECK(calls == 6);
}

TEST_CASE("with a format and tools, an answer is a call or of the format") {
  const auto backend = File().Open();
  int calls = 0, texts = 0;
  for (uint64_t seed = 0; seed < 24; ++seed) {
    GenerateRequest request = Ask({.mode = ToolChoice::Mode::kAuto, .name = ""}, seed);
    // The arguments of tools that are not strict would be any object of a random model.
    for (engine::Tool& tool : Chat(request).conversation.tools) tool.strict = true;
    Chat(request).parallel_tool_calls = false;
    request.response_format = {.kind = ResponseFormat::Kind::kJsonSchema, .definition = kAnswer};
    if (seed % 2 == 0) request.sampling.logit_bias = {{'{', 100.0f}};
    const Outcome outcome = Run(*backend, std::move(request));
    INFO(outcome.text);
    if (!outcome.calls.empty()) {
      ++calls;
      CheckCall(outcome.calls[0]);
      CHECK(outcome.finished.reason == Finished::Reason::kToolCalls);
      continue;
    }
    ++texts;
    const auto document = base::JsonDocument::Parse(outcome.text);
    REQUIRE(document.ok());
    CHECK(document->root().Get("n").AsInt(1, 3).ok());
    CHECK(outcome.finished.reason == Finished::Reason::kStop);
  }
  CHECK(calls > 0);
  CHECK(texts > 0);
}

TEST_CASE("what no grammar can hold is refused by the caller's name for it") {
  const auto backend = File().Open();
  const auto refusal = [&](GenerateRequest request) {
    return backend->Generate(std::move(request), std::make_shared<RecordingSink>()).status();
  };
  GenerateRequest strict = Ask({.mode = ToolChoice::Mode::kAuto, .name = ""}, 1, true);
  Chat(strict).conversation.tools[0].parameters =
      R"({"properties":{"a":{"type":"array","not":{"contains":{}}}}})";
  CHECK(refusal(strict).code() == absl::StatusCode::kUnimplemented);
  CHECK(base::ParamOf(refusal(strict)) == "tools[0].function.parameters.properties.a.not");
  GenerateRequest format = Ask({.mode = ToolChoice::Mode::kNone, .name = ""}, 1);
  format.response_format = {.kind = ResponseFormat::Kind::kJsonSchema,
                            .definition = R"({"type":"strin"})",
                            .place = "guided_json"};
  CHECK(refusal(format).code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::ParamOf(refusal(format)) == "guided_json.type");
}

TEST_CASE("a template that knows no tools is told of them in words") {
  const TinyModelFile plain(
      "{%- for message in messages %}{{- '[' + message.role + ']' + message.content }}"
      "{%- endfor %}{{- '[assistant]' }}",
      kContext);
  const auto backend = plain.Open();
  GenerateRequest request = Ask({.mode = ToolChoice::Mode::kRequired, .name = ""}, 2);
  auto& messages = Chat(request).conversation.messages;
  messages.push_back({.role = "assistant",
                      .content = "",
                      .content_is_null = true,
                      .reasoning = "",
                      .tool_calls = {{.id = "call_1", .name = "ping", .arguments = "{}"}}});
  messages.push_back({.role = "tool", .content = "pong", .tool_call_id = "call_1"});
  const auto tokenized = backend->Tokenize(Chat(request), {});
  REQUIRE(tokenized.ok());
  CHECK(tokenized->prompt.starts_with("[system]You may call these functions:"));
  CHECK(tokenized->prompt.find(R"("name": "book")") != std::string::npos);
  CHECK(tokenized->prompt.find("[assistant]<tool_call>\n{\"name\": \"ping\"") != std::string::npos);
  CHECK(tokenized->prompt.find("[user]<tool_response>\npong\n</tool_response>") !=
        std::string::npos);
  Chat(request).parallel_tool_calls = false;
  const Outcome outcome = Run(*backend, std::move(request));
  REQUIRE(outcome.calls.size() == 1);
  CheckCall(outcome.calls[0]);
}

// A Go template that shows earlier calls behind a mark.
std::string GoTemplate(const std::string& mark, const std::string& end) {
  return "{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ range .ToolCalls }}" + mark +
         R"({"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}})" + end +
         "{{ end }}{{ end }}{{ if .Tools }}<tools>{{ .Tools }}</tools>{{ end }}[assistant]";
}

TEST_CASE("calls are made and read as another template writes them") {
  const auto backend = File().Open();
  for (const auto& [mark, end] :
       {std::pair{"", ""}, {"[TOOL_CALLS] [", "]"}, {"<tool_call>\n", "\n</tool_call>"}}) {
    INFO(mark);
    const auto other = backend->ParseTemplate(GoTemplate(mark, end));
    REQUIRE(other.ok());
    for (uint64_t seed = 1; seed < 5; ++seed) {
      GenerateRequest request = Ask({.mode = ToolChoice::Mode::kRequired, .name = ""}, seed);
      Chat(request).chat_template = *other;
      Chat(request).parallel_tool_calls = false;
      const auto tokenized = backend->Tokenize(Chat(request), {});
      REQUIRE(tokenized.ok());
      CHECK(tokenized->prompt.starts_with(R"([user]x<tools>[{"type":"function","function":{"na)"));
      const Outcome outcome = Run(*backend, std::move(request));
      REQUIRE(outcome.calls.size() == 1);
      CheckCall(outcome.calls[0]);
    }
  }
}

TEST_CASE("a template whose calls are like nobody's hears of tools in words") {
  const auto backend = File().Open();
  GenerateRequest request = Ask({.mode = ToolChoice::Mode::kRequired, .name = ""}, 2);
  const auto other = backend->ParseTemplate(GoTemplate("functools[", "]"));
  REQUIRE(other.ok());
  Chat(request).chat_template = *other;
  Chat(request).parallel_tool_calls = false;
  const auto tokenized = backend->Tokenize(Chat(request), {});
  REQUIRE(tokenized.ok());
  CHECK(tokenized->prompt.starts_with("[system]You may call these functions:"));
  CHECK(tokenized->prompt.find("<tools>[") == std::string::npos);
  const Outcome outcome = Run(*backend, std::move(request));
  REQUIRE(outcome.calls.size() == 1);
  CheckCall(outcome.calls[0]);
}

TEST_CASE("a Go template with a place for it fills a gap instead of the model's own tokens") {
  const auto backend = File().Open();
  const auto other = backend->ParseTemplate(
      "{{ if .Suffix }}before: {{ .Prompt }} behind: {{ .Suffix }}{{ end }}");
  REQUIRE(other.ok());
  const auto fill = [&](std::string suffix, bool with_template) {
    GenerateRequest request = Ask({}, 1);
    request.prompt = TextPrompt{.text = "ab"};
    request.infill = Infill{.suffix = std::move(suffix)};
    if (with_template) request.infill->chat_template = *other;
    request.stop.max_tokens = 1;
    return request;
  };
  const Outcome own = Run(*backend, fill("c", false));
  const Outcome small = Run(*backend, fill("c", true));
  const Outcome large = Run(*backend, fill("cccc", true));
  CHECK(small.finished.usage.prompt_tokens > own.finished.usage.prompt_tokens);
  CHECK(large.finished.usage.prompt_tokens > small.finished.usage.prompt_tokens);
}

TEST_CASE("a template without a place for the system hears of tools from the user") {
  const TinyModelFile plain(
      "{%- for message in messages %}{%- if message.role == 'system' %}"
      "{{- raise_exception('no system') }}{%- endif %}{{- '[' + message.role + ']' + "
      "message.content }}{%- endfor %}{{- '[assistant]' }}",
      kContext);
  const auto backend = plain.Open();
  GenerateRequest request = Ask({.mode = ToolChoice::Mode::kAuto, .name = ""}, 2);
  const auto tokenized = backend->Tokenize(Chat(request), {});
  INFO(tokenized.status().ToString());
  REQUIRE(tokenized.ok());
  CHECK(tokenized->prompt.starts_with("[user]You may call these functions:"));
}

}  // namespace conclave::backends
