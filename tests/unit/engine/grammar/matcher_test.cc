#include "engine/grammar/matcher.h"

#include <catch2/catch.hpp>

#include "engine/grammar/gbnf.h"
#include "unit/engine/grammar/grammar_checks.h"

using namespace conclave;
using namespace conclave::engine;
using namespace conclave::engine::grammar;

namespace {

struct Sample {
  const char* grammar;
  std::vector<std::string> texts;
};

const std::vector<Sample>& Samples() {
  static const std::vector<Sample> samples = {
      {R"g(root ::= ("yes" | "no" | "yesterday") "."?)g", {"yesterday.", "no."}},
      {R"g(root ::= "(" root ")" root | [xy]?)g", {"((x)y)(x)", "()()y", ")))((("}},
      {R"g(root ::= "a" root "a" | "b" root "b" | [ab]?)g", {"abbabba", "aaaa"}},
      {R"g(root ::= s "," s
          s ::= "\"" ([^"\\] | "\\" ["\\n])* "\"")g",
       {"\"a\\\"b\",\"\\n\"", "\",\"", "\xC3\xA4\xF0\x9F\xA6\x99\""}},
      {R"g(root ::= v
          v ::= ("{" ws (k (ws "," ws k)*)? ws "}" | "[" ws (v (ws "," ws v)*)? ws "]" | n | "null")
          k ::= "\"" [a-z]* "\"" ws ":" ws v
          n ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)?
          ws ::= [ \n]*)g",
       {"{\"a\": [1, -2.5, null], \"bc\": {}}", "[[[]],{\"x\":0}]", "}]}, {\"a\":"}},
      {R"g(root ::= [ab]{150,200} a? b*
          a ::= "a" b "c" | "a"
          b ::= "b" a)g",
       {"abababab", "bbbb", "bac"}},
      {R"g(root ::= e
          e ::= t ("+" t)*
          t ::= "(" e ")" | [0-9]+ | t2
          t2 ::= [0-9]+ "x"?)g",
       {"(1+2x)+33", "((4))"}},
  };
  return samples;
}

std::shared_ptr<const TokenGrammar> Made(const Sample& sample, uint64_t seed) {
  auto rules = ParseGbnf(sample.grammar);
  REQUIRE(rules.ok());
  auto automaton = CompileRules(*rules);
  INFO(automaton.status());
  REQUIRE(automaton.ok());
  return std::make_shared<TokenGrammar>(*std::move(automaton),
                                        SmallVocabulary(sample.texts, 60, seed));
}

}  // namespace

TEST_CASE("a mask holds just the tokens after which the text can still become whole") {
  for (const Sample& sample : Samples()) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const auto grammar = Made(sample, seed);
      Matcher matcher(grammar);
      std::mt19937_64 random(seed);
      std::string text;
      for (int step = 0; step < 60; ++step) {
        const TokenMask mask = matcher.Mask();
        std::vector<TokenId> allowed;
        for (TokenId token = 0; token < grammar->trie().vocab_size(); ++token) {
          const std::string bytes(grammar->trie().bytes(token));
          const bool reads =
              !bytes.empty() && Read(grammar->automaton(), text + bytes) != Verdict::kNo;
          if (mask.allows(token) != reads) {
            FAIL(sample.grammar << "\nafter " << text << " comes " << bytes);
          }
          if (reads) allowed.push_back(token);
        }
        CHECK(matcher.may_end() == Matches(grammar->automaton(), text));
        CHECK(matcher.must_end() == (matcher.may_end() && allowed.empty()));
        if (allowed.empty()) break;
        const TokenId chosen = allowed[random() % allowed.size()];
        REQUIRE(matcher.Accept(chosen));
        text += grammar->trie().bytes(chosen);
      }
    }
  }
}

TEST_CASE("a token that may not come changes nothing, and the same tokens lead to the same place") {
  const auto grammar = Made(Samples()[4], 1);
  Matcher matcher(grammar), again(grammar);
  CHECK(matcher.Accept(1 + '{'));
  CHECK_FALSE(matcher.Accept(1 + '{'));
  CHECK_FALSE(matcher.Accept(0));
  CHECK_FALSE(matcher.Accept(-1));
  CHECK_FALSE(matcher.Accept(1'000'000));
  CHECK(again.Accept(1 + '{'));
  CHECK(matcher.Mask() == again.Mask());
  CHECK(matcher.Accept(1 + '}'));
  CHECK(matcher.may_end());
  CHECK(matcher.must_end());
}

TEST_CASE("a grammar too ambiguous to follow allows nothing and says so") {
  // Every way to bracket the text: the ways differ in what they return to.
  std::string text = "root ::= a0\n";
  for (int i = 0; i < 300; ++i) {
    text += "a" + std::to_string(i) + " ::= [a-z] b" + std::to_string(i) + " \"" +
            std::to_string(i) + "\"" + (i < 299 ? " | a" + std::to_string(i + 1) + " \"!\"" : "") +
            "\n";
    text += "b" + std::to_string(i) + " ::= \"x\" b" + std::to_string(i) + " \"y\" | \"z\"\n";
  }
  auto rules = ParseGbnf(text);
  REQUIRE(rules.ok());
  auto automaton = CompileRules(*rules);
  REQUIRE(automaton.ok());
  Matcher matcher(
      std::make_shared<TokenGrammar>(*std::move(automaton), SmallVocabulary({"xyz"}, 4, 1)));
  const TokenMask& mask = matcher.Mask();
  CHECK(matcher.status().code() == absl::StatusCode::kResourceExhausted);
  CHECK_FALSE(mask.allows(1 + 'x'));
  CHECK_FALSE(matcher.may_end());
}
