// Any bytes as the schema of a tool's arguments, and of a format, in the form of any family:
// compiled or refused, soon and within bounds. Of what is compiled a text is written as the bytes
// say: it can always go on or end, its masks are what trying each token gives, and a required call
// that is whole is one that the family's own parser reads.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "engine/chat/parsers/parser.h"
#include "engine/grammar/answer.h"
#include "engine/grammar/matcher.h"

namespace {

using namespace conclave::engine;
using namespace conclave::engine::grammar;

constexpr std::string_view kTemplates[] = {"<tool_call>",
                                           "[TOOL_CALLS]",
                                           "[TOOL_CALLS][ARGS]",
                                           "<|tool_call|>",
                                           "<|python_tag|>",
                                           "<｜tool▁calls▁begin｜>```json",
                                           "<｜tool▁calls▁begin｜>",
                                           "<|tool_calls_section_begin|>",
                                           "<function=",
                                           "<arg_key>",
                                           "<|channel|>"};
constexpr int kStepsMax = 200;

std::shared_ptr<const TokenTrie> Vocabulary() {
  static const auto trie = [] {
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    for (const char* text :
         {"\": ", "\"}", "\", \"", "{\"", "ab", "abc ", "\\n", "</", "\n<", "}}"}) {
      tokens.emplace_back(text);
    }
    return std::make_shared<const TokenTrie>(std::move(tokens));
  }();
  return trie;
}

// Of one token the mask and the step must agree.
void CheckMask(Matcher& matcher, const std::shared_ptr<const TokenGrammar>& grammar,
               const std::vector<TokenId>& chosen, TokenId token) {
  const bool allowed = matcher.Mask().allows(token);
  Matcher other(grammar);
  for (const TokenId one : chosen) CHECK(other.Accept(one));
  CHECK(other.Accept(token) == allowed);
}

// A text of the grammar; nullopt when it is not whole within the steps.
std::optional<std::string> Write(const std::shared_ptr<const TokenGrammar>& grammar,
                                 std::string_view choices) {
  Matcher matcher(grammar);
  std::vector<TokenId> chosen;
  std::string text;
  uint64_t state = choices.size();
  for (int step = 0; step < kStepsMax; ++step) {
    if (!choices.empty()) {
      state ^= static_cast<uint8_t>(choices[static_cast<size_t>(step) % choices.size()]);
    }
    state = state * 0x9E3779B97F4A7C15 + 1;
    const uint64_t random = state >> 20;
    std::vector<TokenId> allowed;
    matcher.Mask().ForEach([&](TokenId token) { allowed.push_back(token); });
    if (!matcher.status().ok()) return std::nullopt;
    CHECK(!allowed.empty() || matcher.may_end());
    if (matcher.must_end() || allowed.empty()) return text;
    if (step % 16 == 0) {
      CheckMask(matcher, grammar, chosen,
                static_cast<TokenId>(random % static_cast<uint64_t>(grammar->trie().vocab_size())));
    }
    const TokenId token = allowed[random % allowed.size()];
    CHECK(matcher.Accept(token));
    chosen.push_back(token);
    text += grammar->trie().bytes(token);
    if (matcher.may_end() && random % 3 == 0) return text;
  }
  return std::nullopt;
}

// Channels are told by control tokens alone.
void FeedAsTokens(OutputParser& parser, const CallSyntax& syntax, std::string_view text,
                  std::vector<OutputEvent>* events) {
  while (syntax.form == CallSyntax::Form::kChannels && !text.empty()) {
    size_t at = text.size();
    std::string_view tag;
    for (const std::string_view one : syntax.tags) {
      const size_t found = one.empty() ? std::string_view::npos : text.find(one);
      if (found >= at) continue;
      at = found;
      tag = one;
    }
    parser.Feed(text.substr(0, at), events);
    if (tag.empty()) return;
    parser.FeedControl(tag, events);
    text.remove_prefix(at + tag.size());
  }
  if (!text.empty()) parser.Feed(text, events);
}

void CheckRead(const ChatFamily& family, std::string_view schema, std::string_view text) {
  ParserOptions options;
  options.tools = true;
  options.split_reasoning = false;
  options.schemas = {{"f", std::string(schema)}};
  options.make_id = [](std::string_view prefix) { return std::string(prefix) + "1"; };
  const auto parser = family.make(options);
  std::vector<OutputEvent> events;
  FeedAsTokens(*parser, *family.calls, text, &events);
  parser->Finish(&events);
  int calls = 0;
  for (const OutputEvent& event : events) {
    CHECK(event.kind != OutputEvent::Kind::kToolCallFailed);
    if (event.kind == OutputEvent::Kind::kToolCallFinished) ++calls;
  }
  CHECK(calls >= 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const ChatFamily& family = FamilyOf(kTemplates[data[0] % std::size(kTemplates)]);
  const uint8_t flags = data[1];
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t cut = text.find('\0');
  const std::string_view schema = text.substr(0, cut);

  AnswerShape shape;
  shape.calls = flags & 1 ? AnswerShape::Calls::kRequired : AnswerShape::Calls::kAllowed;
  shape.parallel = flags & 2;
  shape.syntax = family.calls;
  shape.functions = {{.name = "f",
                      .schema = std::string(schema),
                      .place = "tools[0]",
                      .held = (flags & 4) != 0,
                      .strict = (flags & 8) != 0}};
  if (flags & 16) shape.reasoning = AnswerShape::Reasoning::kAllowed;
  if (cut != std::string_view::npos) {
    shape.format = AnswerShape::Format{.language = Language::kJsonSchema,
                                       .definition = std::string(text.substr(cut + 1)),
                                       .place = "format"};
  }
  auto automaton = CompileAnswer(shape, [](std::string_view) { return false; });
  if (!automaton.ok()) {
    CHECK(!automaton.status().message().empty());
    return 0;
  }
  const auto grammar = std::make_shared<const TokenGrammar>(*std::move(automaton), Vocabulary());
  const auto written = Write(grammar, text);
  const bool call = shape.calls == AnswerShape::Calls::kRequired &&
                    shape.reasoning == AnswerShape::Reasoning::kNone;
  if (call && written) CheckRead(family, schema, *written);
  return 0;
}
