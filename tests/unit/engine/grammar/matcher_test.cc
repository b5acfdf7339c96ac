#include "engine/grammar/matcher.h"

#include <catch2/catch.hpp>

#include "engine/grammar/compile.h"
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

namespace {

// Tokens as large vocabularies have them: pieces of `texts` of all sizes, cut within characters,
// too.
std::shared_ptr<const TokenTrie> WideVocabulary(const std::vector<std::string>& texts,
                                                uint64_t seed) {
  std::vector<std::string> tokens = {""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 500; ++i) {
    std::string token;
    for (size_t pieces = 1 + random() % 3; pieces > 0; --pieces) {
      const std::string& text = texts[random() % texts.size()];
      token += text.substr(random() % text.size(), 1 + random() % 12);
    }
    tokens.push_back(std::move(token));
  }
  for (const size_t size : {100u, 127u, 128u, 129u, 200u, 253u, 254u, 255u, 256u, 600u}) {
    tokens.emplace_back(size, 'a');
    tokens.push_back(std::string(size, 'a') + "\"");
    tokens.push_back("b" + std::string(size, ' ') + "\n");
  }
  return std::make_shared<TokenTrie>(std::move(tokens));
}

struct WideSample {
  Language language;
  const char* definition;
  std::vector<const char*> beginnings;
};

const std::vector<WideSample>& WideSamples() {
  static const std::vector<WideSample> samples = {
      {Language::kJsonObject, "", {"{\"a\": \"", "{\"a\":[\"\\", "{\"a\": 12"}},
      {Language::kJsonSchema, R"({"type":"string","maxLength":5})", {"\"", "\"\xC3"}},
      {Language::kJsonSchema, R"({"type":"string","minLength":9,"maxLength":20})", {"\"", "\"\\"}},
      {Language::kJsonSchema, R"({"type":"string","maxLength":300})", {"\""}},
      {Language::kJsonSchema, R"({"type":"string","minLength":600,"maxLength":3000})", {"\""}},
      {Language::kJsonSchema,
       R"({"properties":{"a":{"type":"string","pattern":"^[a-c ]{1,400}$"},"b":{"type":"string",)"
       R"("maxLength":700}},"required":["a","b"],"additionalProperties":{"maxLength":9}})",
       {"{\"a\": \"", "{\"a\":\"a\",\"b\": \""}},
      {Language::kRegex, R"((- [^\n]{1,80}\n){1,30})", {"- "}},
      {Language::kRegex, R"([a-z]{1,700}|[ab]{0,900} *")", {""}},
      {Language::kRegex, R"(([a-z][a-z])*"|(.{300})+)", {""}},
      {Language::kRegex, R"([^<]*(<[^/][^<]*)*</a>)", {"b<"}},
      {Language::kGbnf,
       R"g(root ::= s (" " s)* "\n"
           s ::= w (" " w)* ","?
           w ::= [A-Za-z]+ | "\"" w "\"" | "(" s ")")g",
       {"", "\"", "(a "}},
      {Language::kGbnf,
       R"g(root ::= l{1,40}
           l ::= ([^\n"]{1,200} x)? "\n" | l2
           l2 ::= "\"" [^\n]* l3
           l3 ::= "\n" | "(" l2 ")"
           x ::= "\"" | "(" x ")")g",
       {"", "\""}},
  };
  return samples;
}

// Whether the mask is what trying every token would give.
void CheckMask(const TokenGrammar& grammar, Matcher* matcher, const std::string& text) {
  Stacks stacks(grammar.automaton());
  Items items = stacks.Start(), next;
  for (const char byte : text) {
    stacks.Step(items, static_cast<uint8_t>(byte), &next);
    std::swap(items, next);
  }
  const TokenMask& mask = matcher->Mask();
  for (TokenId token = 0; token < grammar.trie().vocab_size(); ++token) {
    Items at = items;
    for (const char byte : grammar.trie().bytes(token)) {
      stacks.Step(at, static_cast<uint8_t>(byte), &next);
      std::swap(at, next);
    }
    const bool reads = !at.empty() && !grammar.trie().bytes(token).empty();
    if (mask.allows(token) != reads) {
      FAIL("after " << text << " comes " << grammar.trie().bytes(token) << ": " << reads);
    }
  }
  REQUIRE(matcher->status().ok());
}

}  // namespace

TEST_CASE("masks of long, bounded and nested texts are what trying every token gives") {
  const std::vector<std::string> texts = {
      "abc de",         "\",\" \"a\": ",
      "\\n\\u00e4\\\"", "\xE4\xB8\xAD\xE6\x96\x87\xC3\xA4\xF0\x9F\xA6\x99",
      "- a\n- ",        ") (",
      "</a><b",         "aaaaaaaaaaaaaaaa    "};
  for (const WideSample& sample : WideSamples()) {
    auto automaton = Compile(sample.language, sample.definition);
    INFO(sample.definition << automaton.status());
    REQUIRE(automaton.ok());
    for (uint64_t seed = 0; seed < 2; ++seed) {
      const auto grammar = std::make_shared<TokenGrammar>(*automaton, WideVocabulary(texts, seed));
      for (const std::string beginning : sample.beginnings) {
        Matcher matcher(grammar);
        std::mt19937_64 random(seed);
        std::string text;
        for (const char byte : beginning) {
          REQUIRE(matcher.Accept(1 + static_cast<uint8_t>(byte)));
          text += byte;
        }
        for (int step = 0; step < 40 && !matcher.must_end(); ++step) {
          CheckMask(*grammar, &matcher, text);
          std::vector<TokenId> allowed;
          matcher.Mask().ForEach([&](TokenId token) { allowed.push_back(token); });
          REQUIRE_FALSE(allowed.empty());
          // The longest half of the time: so the ends of what is bounded are met.
          TokenId chosen = allowed[random() % allowed.size()];
          for (int tries = 0; step % 2 == 0 && tries < 20; ++tries) {
            const TokenId other = allowed[random() % allowed.size()];
            const auto& trie = grammar->trie();
            if (trie.bytes(other).size() > trie.bytes(chosen).size()) chosen = other;
          }
          REQUIRE(matcher.Accept(chosen));
          text += grammar->trie().bytes(chosen);
        }
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
