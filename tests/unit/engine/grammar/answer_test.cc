// What tools, tool_choice and a format say together, in the form of every family; and that the
// family's own parser reads whatever the grammar lets through.
#include "engine/grammar/answer.h"

#include <catch2/catch.hpp>

#include "base/json.h"
#include "engine/chat/parsers/parser.h"
#include "engine/grammar/json_schema.h"
#include "unit/engine/grammar/grammar_checks.h"

using namespace conclave;
using namespace conclave::engine;
using namespace conclave::engine::grammar;

namespace {

using Calls = AnswerShape::Calls;
using Reasoning = AnswerShape::Reasoning;

constexpr const char* kWeather = R"({"type":"object","properties":{
  "city":{"type":"string","enum":["Paris","Oslo"]},"days":{"type":"integer","minimum":1,"maximum":7},
  "note":{"type":"string","maxLength":4}},"required":["city","days"],"additionalProperties":false})";

// A template's markup, and one call of get_weather as the family's template writes it.
struct FamilyCase {
  const char* name;
  const char* markup;
  std::string one;
  std::string two;   // calls; "" = the family makes one at a time
  std::string bad;   // the same with a wrong argument
  std::string none;  // a call of ping, which has no parameters
};

std::string Hermes(const std::string& name, const std::string& arguments) {
  return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments +
         "}\n</tool_call>";
}
std::string Listed(const std::string& name, const std::string& arguments) {
  return "{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}";
}
std::string Llama(const std::string& name, const std::string& arguments) {
  return "{\"name\": \"" + name + "\", \"parameters\": " + arguments + "}";
}
std::string Fenced(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name + "\n```json\n" + arguments +
         "\n```<｜tool▁call▁end｜>";
}
std::string Deepseek(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>" + name + "<｜tool▁sep｜>" + arguments + "<｜tool▁call▁end｜>";
}
std::string Kimi(const std::string& name, const std::string& arguments) {
  return "<|tool_call_begin|>functions." + name + ":0<|tool_call_argument_begin|>" + arguments +
         "<|tool_call_end|>";
}
std::string Coder(const std::string& city, const std::string& days) {
  return "<tool_call>\n<function=get_weather>\n<parameter=city>\n" + city +
         "\n</parameter>\n<parameter=days>\n" + days + "\n</parameter>\n</function>\n</tool_call>";
}
std::string Glm(const std::string& city, const std::string& days) {
  return "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>" + city +
         "</arg_value>\n<arg_key>days</arg_key>\n<arg_value>" + days + "</arg_value>\n</tool_call>";
}

const std::vector<FamilyCase>& Families() {
  const std::string good = R"({"city": "Oslo", "days": 3})",
                    wrong = R"({"city": "Rome", "days": 3})";
  const std::string g = "get_weather";
  static const std::vector<FamilyCase> cases = {
      {"hermes", "<tool_call>", Hermes(g, good), Hermes(g, good) + "\n" + Hermes(g, good),
       Hermes(g, wrong), Hermes("ping", "{}")},
      {"mistral", "[TOOL_CALLS]", "[TOOL_CALLS][" + Listed(g, good) + "]",
       "[TOOL_CALLS] [" + Listed(g, good) + ", " + Listed(g, good) + "]",
       "[TOOL_CALLS][" + Listed(g, wrong) + "]", "[TOOL_CALLS][" + Listed("ping", "{}") + "]"},
      {"mistral-named", "[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]get_weather[ARGS]" + good,
       "[TOOL_CALLS]get_weather[CALL_ID]a1B2c3D4e[ARGS]" + good + "[TOOL_CALLS]get_weather[ARGS]" +
           good,
       "[TOOL_CALLS]get_weather[ARGS]" + wrong, "[TOOL_CALLS]ping[ARGS]{}"},
      {"granite", "<|tool_call|>", "<|tool_call|>[" + Listed(g, good) + "]",
       "<|tool_call|>[" + Listed(g, good) + ", " + Listed(g, good) + "]",
       "<|tool_call|>[" + Listed(g, wrong) + "]", "<|tool_call|>[" + Listed("ping", "{}") + "]"},
      {"llama3", "<|python_tag|>", Llama(g, good),
       "<|python_tag|>" + Llama(g, good) + "; " + Llama(g, good), Llama(g, wrong),
       Llama("ping", "{}")},
      {"deepseek-r1", "<｜tool▁calls▁begin｜> ```json",
       "<｜tool▁calls▁begin｜>" + Fenced(g, good) + "<｜tool▁calls▁end｜>",
       "<｜tool▁calls▁begin｜>" + Fenced(g, good) + "\n" + Fenced(g, good) + "<｜tool▁calls▁end｜>",
       "<｜tool▁calls▁begin｜>" + Fenced(g, wrong) + "<｜tool▁calls▁end｜>",
       "<｜tool▁calls▁begin｜>" + Fenced("ping", "{}") + "<｜tool▁calls▁end｜>"},
      {"deepseek", "<｜tool▁calls▁begin｜>",
       "<｜tool▁calls▁begin｜>" + Deepseek(g, good) + "<｜tool▁calls▁end｜>",
       "<｜tool▁calls▁begin｜>" + Deepseek(g, good) + Deepseek(g, good) + "<｜tool▁calls▁end｜>",
       "<｜tool▁calls▁begin｜>" + Deepseek(g, wrong) + "<｜tool▁calls▁end｜>",
       "<｜tool▁calls▁begin｜>" + Deepseek("ping", "{}") + "<｜tool▁calls▁end｜>"},
      {"kimi", "<|tool_calls_section_begin|>",
       "<|tool_calls_section_begin|>" + Kimi(g, good) + "<|tool_calls_section_end|>",
       "<|tool_calls_section_begin|>" + Kimi(g, good) + Kimi(g, good) +
           "<|tool_calls_section_end|>",
       "<|tool_calls_section_begin|>" + Kimi(g, wrong) + "<|tool_calls_section_end|>",
       "<|tool_calls_section_begin|>" + Kimi("ping", "{}") + "<|tool_calls_section_end|>"},
      {"qwen-coder", "<function=", Coder("Oslo", "3"),
       Coder("Oslo", "3") + "\n" + Coder("Paris", "7"), Coder("Rome", "3"),
       "<tool_call>\n<function=ping>\n</function>\n</tool_call>"},
      {"glm", "<arg_key>", Glm("Oslo", "3"), Glm("Oslo", "3") + "\n" + Glm("Paris", "7"),
       Glm("Oslo", "8"), "<tool_call>ping\n</tool_call>"},
      {"harmony", "<|channel|>",
       "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" + good, "",
       "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" + wrong,
       " to=functions.ping<|channel|>commentary json<|message|>{}"},
  };
  return cases;
}

AnswerShape ShapeFor(const FamilyCase& family, Calls calls, bool strict = true) {
  AnswerShape shape;
  shape.calls = calls;
  shape.syntax = FamilyOf(family.markup).calls;
  shape.functions = {
      {.name = "get_weather",
       .schema = kWeather,
       .place = "tools[0].function.parameters",
       .held = true,
       .strict = strict},
      {.name = "ping", .schema = "", .place = "tools[1]", .held = true, .strict = strict}};
  return shape;
}

Automaton Compiled(const AnswerShape& shape, bool control = false) {
  auto automaton = CompileAnswer(shape, [control](std::string_view) { return control; });
  INFO(automaton.status());
  REQUIRE(automaton.ok());
  return *std::move(automaton);
}

// `bytes`, where a control token begins with 0xFF and ends with its tag, as a model would emit it.
// Text comes in pieces of that size.
void Say(std::string_view bytes, std::span<const std::string_view> tags, OutputParser& parser,
         std::vector<OutputEvent>* events, size_t piece = 1) {
  while (!bytes.empty()) {
    if (bytes.front() != Rules::kControl) {
      const size_t end = std::min({bytes.find(Rules::kControl), bytes.size(), piece});
      parser.Feed(bytes.substr(0, end), events);
      bytes.remove_prefix(end);
      continue;
    }
    bytes.remove_prefix(1);
    const auto tag = std::find_if(tags.begin(), tags.end(), [&](std::string_view one) {
      return !one.empty() && bytes.starts_with(one);
    });
    REQUIRE(tag != tags.end());
    parser.FeedControl(*tag, events);
    bytes.remove_prefix(tag->size());
  }
}

// `text` with every tag as a control token.
std::string Spelled(std::string_view text, std::span<const std::string_view> tags) {
  std::string spelled;
  while (!text.empty()) {
    const auto tag = std::find_if(tags.begin(), tags.end(), [&](std::string_view one) {
      return !one.empty() && text.starts_with(one);
    });
    if (tag != tags.end()) spelled += Rules::kControl;
    const size_t length = tag != tags.end() ? tag->size() : 1;
    spelled += text.substr(0, length);
    text.remove_prefix(length);
  }
  return spelled;
}

std::vector<OutputEvent> Parsed(const FamilyCase& family, std::string_view bytes,
                                size_t piece = 1) {
  ParserOptions options;
  options.tools = true;
  options.schemas = {{"get_weather", kWeather}, {"ping", ""}};
  options.make_id = [](std::string_view prefix) { return std::string(prefix) + "1"; };
  const ChatFamily& chat = FamilyOf(family.markup);
  const auto parser = chat.make(options);
  std::vector<OutputEvent> events;
  Say(bytes, chat.calls->tags, *parser, &events, piece);
  parser->Finish(&events);
  return events;
}

// What happened, adjacent pieces of one kind joined.
std::string Story(const std::vector<OutputEvent>& events) {
  std::string story;
  const OutputEvent* last = nullptr;
  for (const OutputEvent& event : events) {
    const bool goes_on = last != nullptr && last->kind == event.kind && last->index == event.index;
    if (!goes_on) story += "|" + std::to_string(static_cast<int>(event.kind)) + event.name + ":";
    story += event.text;
    last = &event;
  }
  return story;
}

// Whole calls only, and the arguments of each what its tool asks for.
int CheckCalls(const std::vector<OutputEvent>& events) {
  static const Automaton weather = *CompileRules(*ParseJsonSchema(kWeather));
  int calls = 0;
  for (const OutputEvent& event : events) {
    CHECK(event.kind != OutputEvent::Kind::kToolCallFailed);
    CHECK(event.kind != OutputEvent::Kind::kContent);
    if (event.kind != OutputEvent::Kind::kToolCallFinished) continue;
    ++calls;
    INFO(event.name << event.text);
    if (event.name == "ping") {
      CHECK(event.text == "{}");
    } else {
      CHECK(event.name == "get_weather");
      CHECK(Matches(weather, event.text));
    }
  }
  return calls;
}

// One byte each but for 0xFF, which stands for control tokens only.
std::shared_ptr<const TokenTrie> Bytes(const CallSyntax& syntax) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 0xFF; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const std::string_view tag : syntax.tags) {
    if (!tag.empty()) tokens.push_back(std::string(1, Rules::kControl) + std::string(tag));
  }
  return std::make_shared<TokenTrie>(std::move(tokens));
}

// A random text of the grammar, or "" when it grew too long.
std::string Walk(const std::shared_ptr<const TokenGrammar>& grammar, uint64_t seed) {
  std::mt19937_64 random(seed);
  Matcher matcher(grammar);
  std::string text;
  while (!matcher.must_end()) {
    if (matcher.may_end() && random() % 2 == 0) break;
    if (text.size() > 1'500) return "";
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < grammar->trie().vocab_size(); ++id) {
      if (matcher.Mask().allows(id)) allowed.push_back(id);
    }
    REQUIRE_FALSE(allowed.empty());
    const TokenId chosen = allowed[random() % allowed.size()];
    REQUIRE(matcher.Accept(chosen));
    text += grammar->trie().bytes(chosen);
  }
  return text;
}

}  // namespace

TEST_CASE("a required call is one of the family's own form, with arguments of its schema") {
  for (const FamilyCase& family : Families()) {
    INFO(family.name);
    REQUIRE(FamilyOf(family.markup).name == family.name);
    const Automaton automaton = Compiled(ShapeFor(family, Calls::kRequired));
    CHECK(Matches(automaton, family.one));
    CHECK(Matches(automaton, family.none));
    CHECK(Read(automaton, family.bad) == Verdict::kNo);
    CHECK(Read(automaton, "Let me see.") == Verdict::kNo);
    CHECK_FALSE(Matches(automaton, ""));
    const auto& tags = FamilyOf(family.markup).calls->tags;
    CHECK(CheckCalls(Parsed(family, Spelled(family.one, tags))) == 1);
    CHECK(CheckCalls(Parsed(family, Spelled(family.none, tags))) == 1);
    CHECK(Matches(Compiled(ShapeFor(family, Calls::kRequired), /*control=*/true),
                  Spelled(family.one, tags)));
    if (family.two.empty()) continue;
    CHECK(Matches(automaton, family.two));
    CHECK(CheckCalls(Parsed(family, family.two)) == 2);
    CHECK(CheckCalls(Parsed(family, Spelled(family.two, tags))) == 2);
    AnswerShape single = ShapeFor(family, Calls::kRequired);
    single.parallel = false;
    const Automaton one = Compiled(single);
    CHECK(Matches(one, family.one));
    CHECK(Read(one, family.two) == Verdict::kNo);
  }
}

// Models with templates of several families may share one cache.
TEST_CASE("the same tools have another key in every family") {
  std::vector<std::string> keys;
  std::vector<const CallSyntax*> seen;
  for (const FamilyCase& family : Families()) {
    AnswerShape shape;
    shape.calls = Calls::kRequired;
    shape.syntax = FamilyOf(family.markup).calls;
    shape.functions = {{.name = "f", .schema = "{}"}};
    if (shape.syntax == nullptr || std::count(seen.begin(), seen.end(), shape.syntax) > 0) continue;
    seen.push_back(shape.syntax);
    INFO(family.name);
    CHECK(std::count(keys.begin(), keys.end(), KeyOf(shape)) == 0);
    keys.push_back(KeyOf(shape));
  }
  CHECK(keys.size() > 8);
}

TEST_CASE("recorded outputs of every family read the same whatever the cuts") {
  for (const FamilyCase& family : Families()) {
    const auto& tags = FamilyOf(family.markup).calls->tags;
    const bool alone = FamilyOf(family.markup).calls->bare || family.two.empty();
    for (const std::string& output : {family.one, family.none, family.bad, family.two,
                                      alone ? family.one : "Let me see <this>.\n" + family.one,
                                      family.one.substr(0, family.one.size() / 2)}) {
      for (const bool control : {true, false}) {
        const std::string text = control ? Spelled(output, tags) : output;
        const std::string whole = Story(Parsed(family, text, text.size() + 1));
        for (size_t piece = 1; piece <= text.size(); ++piece) {
          INFO(family.name << " in pieces of " << piece << ": " << text);
          CHECK(Story(Parsed(family, text, piece)) == whole);
        }
      }
    }
  }
}

TEST_CASE("a named call is of that tool only") {
  for (const FamilyCase& family : Families()) {
    AnswerShape shape = ShapeFor(family, Calls::kRequired);
    shape.functions.erase(shape.functions.begin());
    const Automaton automaton = Compiled(shape);
    INFO(family.name);
    CHECK(Matches(automaton, family.none));
    CHECK(Read(automaton, family.one) == Verdict::kNo);
  }
}

TEST_CASE("whatever a required call's grammar lets through its parser reads") {
  for (const FamilyCase& family : Families()) {
    INFO(family.name);
    const CallSyntax& syntax = *FamilyOf(family.markup).calls;
    for (const bool held : {true, false}) {
      AnswerShape shape = ShapeFor(family, Calls::kRequired);
      if (!held) shape.functions.pop_back();
      if (!held)
        shape.functions[0].schema = R"({"type":"object","properties":{
        "city":{"enum":["Paris"]},"days":{"const":2}},"required":["city","days"]})";
      const auto grammar =
          std::make_shared<TokenGrammar>(Compiled(shape, /*control=*/true), Bytes(syntax));
      int read = 0;
      for (uint64_t seed = 0; seed < 30; ++seed) {
        const std::string text = Walk(grammar, seed);
        if (text.empty()) continue;
        INFO(text);
        CHECK(CheckCalls(Parsed(family, text)) >= 1);
        ++read;
      }
      CHECK(read > 10);
    }
  }
}

TEST_CASE("where calls are allowed text is free up to their first tag") {
  for (const FamilyCase& family : Families()) {
    INFO(family.name);
    const Automaton automaton = Compiled(ShapeFor(family, Calls::kAllowed));
    CHECK(Matches(automaton, family.one));
    CHECK(Read(automaton, family.bad) == Verdict::kNo);
    const bool harmony = std::string_view(family.name) == "harmony";
    const std::string head = harmony ? "<|channel|>final<|message|>" : "";
    CHECK(Matches(automaton, head + "It is < 5 degrees. <tool"));
    if (harmony) continue;
    CHECK(Matches(automaton, ""));
    const bool bare = FamilyOf(family.markup).calls->bare;
    const std::string tag = bare ? "<|python_tag|>" : "";
    CHECK(Matches(automaton, "Let me see.\n" + tag + family.one));
    CHECK(Read(automaton, "Let me see.\n" + tag + family.bad) == Verdict::kNo);
  }
  // A family whose calls have no end of their section may go on.
  const Automaton hermes = Compiled(ShapeFor(Families()[0], Calls::kAllowed));
  CHECK(Matches(hermes, "One: " + Families()[0].one + " two: " + Families()[0].one + " done."));
}

TEST_CASE("a call or a final text of the format") {
  for (const FamilyCase& family : Families()) {
    INFO(family.name);
    AnswerShape shape = ShapeFor(family, Calls::kAllowed);
    shape.format = {
        .language = Language::kJsonSchema,
        .definition = R"({"properties":{"answer":{"type":"integer"}},"required":["answer"]})",
        .place = "response_format"};
    const Automaton automaton = Compiled(shape);
    const bool harmony = std::string_view(family.name) == "harmony";
    const std::string head = harmony ? "<|channel|>final<|message|>" : "";
    CHECK(Matches(automaton, family.one));
    CHECK(Matches(automaton, head + R"({"answer": 42})"));
    CHECK(Read(automaton, family.bad) == Verdict::kNo);
    CHECK(Read(automaton, head + R"({"answer": "x"})") == Verdict::kNo);
    CHECK(Read(automaton, head + "hello") == Verdict::kNo);
    shape.calls = Calls::kNone;
    CHECK(Matches(Compiled(shape), head + R"({"answer":42})"));
    CHECK(Read(Compiled(shape), family.one) == Verdict::kNo);
  }
}

TEST_CASE("reasoning may stand in front, and must be closed where the prompt opened it") {
  const FamilyCase& hermes = Families()[0];
  AnswerShape shape = ShapeFor(hermes, Calls::kRequired);
  shape.reasoning = Reasoning::kAllowed;
  const Automaton allowed = Compiled(shape);
  CHECK(Matches(allowed, hermes.one));
  CHECK(Matches(allowed, "<think>\nA <tool_call> might do.\n</think>\n\n" + hermes.one));
  CHECK(Read(allowed, "hm</think>" + hermes.one) == Verdict::kNo);
  shape.reasoning = Reasoning::kOpen;
  const Automaton open = Compiled(shape);
  CHECK(Matches(open, "hm</think>\n\n" + hermes.one));
  CHECK(Read(open, hermes.one) == Verdict::kPrefix);
  CHECK(Read(open, "hm</think>hm") == Verdict::kNo);
  AnswerShape harmony = ShapeFor(Families().back(), Calls::kRequired);
  const std::string analysis = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant";
  CHECK(Read(Compiled(harmony), analysis) == Verdict::kNo);
  harmony.reasoning = Reasoning::kAllowed;
  CHECK(Matches(Compiled(harmony), analysis + Families().back().one));
  CHECK(Matches(Compiled(harmony), analysis + Families().back().none));
}

TEST_CASE("arguments that are not held are any object") {
  for (const FamilyCase& family : Families()) {
    AnswerShape shape = ShapeFor(family, Calls::kAllowed);
    for (AnswerShape::Function& function : shape.functions) function.held = false;
    const Automaton automaton = Compiled(shape);
    INFO(family.name);
    CHECK(Matches(automaton, family.one));
    CHECK(Matches(automaton, family.bad));
    CHECK(Matches(automaton, family.none));
  }
}

TEST_CASE("an unsupported keyword is refused for strict tools and left out for others") {
  for (const FamilyCase& family : Families()) {
    INFO(family.name);
    AnswerShape shape = ShapeFor(family, Calls::kRequired);
    shape.functions[1] = {.name = "f",
                          .schema = R"({"properties":{"a":{"type":"integer","then":{}}}})",
                          .place = "tools[1].function.parameters",
                          .held = true,
                          .strict = true};
    const auto refused = CompileAnswer(shape, [](std::string_view) { return false; });
    CHECK(refused.status().code() == absl::StatusCode::kUnimplemented);
    CHECK(base::ParamOf(refused.status()) == "tools[1].function.parameters.properties.a");
    shape.functions[1].strict = false;
    CHECK(CompileAnswer(shape, [](std::string_view) { return false; }).ok());
  }
}

TEST_CASE("the budget of the reasoning forces its end once") {
  AnswerShape shape;
  shape.reasoning = Reasoning::kOpen;
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 0xFF; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.emplace_back("</think>");
  const auto end = static_cast<TokenId>(tokens.size() - 1);
  const auto trie = std::make_shared<TokenTrie>(std::move(tokens));
  const TokenGrammar free(Compiled(shape), trie);
  const auto limited = [&](int32_t tokens_max, bool open) {
    return std::make_shared<TokenGrammar>(free, ReasoningLimit{.max_tokens = tokens_max,
                                                               .open = open,
                                                               .begin = "<think>",
                                                               .end = "</think>",
                                                               .closing = {'\n', end, '\n'}});
  };
  const auto only = [&](Matcher& matcher, TokenId token) {
    for (TokenId id = 0; id < trie->vocab_size(); ++id) {
      if (matcher.Mask().allows(id) != (id == token)) return false;
    }
    return !matcher.may_end();
  };
  Matcher matcher(limited(3, true));
  for (const char c : {'a', 'b'}) {
    CHECK(matcher.Mask().allows('x'));
    REQUIRE(matcher.Accept(c));
  }
  // Two of its own and the line break make three.
  for (const TokenId token : {TokenId{'\n'}, end, TokenId{'\n'}}) {
    CHECK(only(matcher, token));
    REQUIRE(matcher.Accept(token));
  }
  CHECK(matcher.Mask().allows('x'));
  CHECK(matcher.may_end());
  // Who ends in time is left alone.
  Matcher early(limited(3, true));
  REQUIRE(early.Accept(end));
  for (const char c : {'a', 'b', 'c', 'd'}) REQUIRE(early.Accept(c));
  CHECK(early.Mask().allows('x'));
  // None at all: not even the line break.
  Matcher none(limited(0, true));
  CHECK(only(none, end));
  // Where the model opens the block itself, it counts from there.
  shape.reasoning = Reasoning::kAllowed;
  Matcher opened(std::make_shared<TokenGrammar>(
      TokenGrammar(Compiled(shape), trie),
      ReasoningLimit{.max_tokens = 1, .begin = "<think>", .end = "</think>", .closing = {end}}));
  for (const char c : std::string("\n<think>a")) REQUIRE(opened.Accept(c));
  CHECK(only(opened, end));
}
