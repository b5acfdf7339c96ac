// Outputs held to a grammar, through the engine's door: how they end.
#include <catch2/catch.hpp>

#include "engine/engine.h"
#include "engine/grammar/gbnf.h"
#include "engine/grammar/token_grammar.h"
#include "support/tiny_model.h"
#include "tools/collector.h"

namespace conclave::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto kDeadline = 120s;
constexpr int32_t kVocabulary = 128;

// Over a vocabulary of the letters of `alphabet` alone: id 1 is the first of them.
std::shared_ptr<const grammar::TokenGrammar> Grammar(const char* gbnf, std::string_view alphabet) {
  std::vector<std::string> tokens(kVocabulary);
  for (size_t i = 0; i < alphabet.size(); ++i) tokens[i + 1] = alphabet.substr(i, 1);
  auto automaton = grammar::CompileRules(*grammar::ParseGbnf(gbnf));
  REQUIRE(automaton.ok());
  return std::make_shared<grammar::TokenGrammar>(
      *std::move(automaton), std::make_shared<grammar::TokenTrie>(std::move(tokens)));
}

struct Ended {
  std::vector<TokenId> tokens;
  Event end;
};

Ended Run(std::shared_ptr<const grammar::TokenGrammar> grammar, int32_t max_tokens = 20) {
  static const std::unique_ptr<Engine> engine =
      *Engine::Open(MakeTinySource(*TinySpec("qwen3moe")), {});
  static int counter = 0;
  const auto collector = std::make_shared<Collector>();
  GenerateRequest request{.id = "c" + std::to_string(++counter), .prompt = {1, 2, 3}};
  request.max_tokens = max_tokens;
  request.grammar = std::move(grammar);
  REQUIRE(engine->Submit(std::move(request), collector).ok());
  const std::optional<Event> end = collector->WaitFinished(kDeadline);
  REQUIRE(end.has_value());
  return {collector->tokens(), *end};
}

}  // namespace

TEST_CASE("a text that nothing can follow ends by itself") {
  const Ended ended = Run(Grammar("root ::= \"ab\" [ab]{3}", "ab"));
  CHECK(ended.end.reason == FinishReason::kStop);
  REQUIRE(ended.tokens.size() == 5);
  CHECK(ended.tokens[0] == 1);
  CHECK(ended.tokens[1] == 2);
}

TEST_CASE("a text that is cut says so") {
  const Ended ended = Run(Grammar("root ::= \"ab\" [ab]{30}", "ab"), 7);
  CHECK(ended.end.reason == FinishReason::kLength);
  CHECK(ended.tokens.size() == 7);
}

TEST_CASE("where no token can continue the format the request fails and says why") {
  // There is no token with a b in it.
  const Ended ended = Run(Grammar("root ::= \"ab\"", "a"));
  CHECK(ended.tokens == std::vector<TokenId>{1});
  CHECK(ended.end.reason == FinishReason::kError);
  CHECK(ended.end.status.code() == absl::StatusCode::kInternal);
  CHECK(std::string(ended.end.status.message()).find("no token of this model's vocabulary") !=
        std::string::npos);
  // What is whole may end there.
  CHECK(Run(Grammar("root ::= \"a\" \"b\"?", "a")).end.reason == FinishReason::kStop);
}

}  // namespace conclave::engine
