#include "engine/grammar/gbnf.h"

#include <catch2/catch.hpp>
#include <chrono>

#include "unit/engine/grammar/grammar_checks.h"

using namespace conclave;
using namespace conclave::engine::grammar;

namespace {

Automaton Compiled(std::string_view text) {
  auto rules = ParseGbnf(text);
  INFO(rules.status());
  REQUIRE(rules.ok());
  auto automaton = CompileRules(*rules);
  INFO(automaton.status());
  REQUIRE(automaton.ok());
  return *std::move(automaton);
}

std::string Refused(std::string_view text) {
  auto rules = ParseGbnf(text);
  if (!rules.ok()) {
    CHECK(rules.status().code() == absl::StatusCode::kInvalidArgument);
    return std::string(rules.status().message());
  }
  const auto automaton = CompileRules(*rules);
  REQUIRE_FALSE(automaton.ok());
  CHECK(automaton.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(automaton.status().message());
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("literals, classes, groups, alternatives and repetitions read what they say") {
  const Automaton list = Compiled(R"g(
    root ::= item ("," " "? item){0,2}  # up to three
    item ::= [a-c_]+ | "\"" [^"\n] "\"" |
             "\x41\u00e4\U0001F999"
  )g");
  for (const char* text : {"a", "abc_", "a,b", "a, b,c", "\"x\"", "\"\xF0\x9F\xA6\x99\",a",
                           "A\xC3\xA4\xF0\x9F\xA6\x99"}) {
    CHECK(Matches(list, text));
  }
  for (const char* text : {"", "d", "a,", "a,b,c,a", "\"\n\"", "\"\"", "a,  b", "\"\xC3\""}) {
    CHECK_FALSE(Matches(list, text));
  }
  CHECK(Read(list, "a,") == Verdict::kPrefix);
  CHECK(Read(list, "\"\xF0\x9F") == Verdict::kPrefix);
  CHECK(Read(list, "x") == Verdict::kNo);
}

TEST_CASE("counts are exact, however large") {
  for (const auto& [min, max] :
       {std::pair{0, 1}, {3, 3}, {2, 5}, {0, 130}, {100, 300}, {129, 129}, {200, 5'000}}) {
    const Automaton counted =
        Compiled("root ::= [ab]{" + std::to_string(min) + "," + std::to_string(max) + "}");
    for (const int length : {min - 1, min, (min + max) / 2, max, max + 1}) {
      if (length < 0) continue;
      INFO(min << " " << max << " " << length);
      CHECK(Matches(counted, std::string(static_cast<size_t>(length), 'a')) ==
            (length >= min && length <= max));
    }
  }
  const Automaton open = Compiled("root ::= \"a\"{300,} \"b\"{,2}");
  CHECK_FALSE(Matches(open, std::string(299, 'a')));
  CHECK(Matches(open, std::string(400, 'a') + "bb"));
  CHECK_FALSE(Matches(open, std::string(400, 'a') + "bbb"));
}

TEST_CASE("rules call each other to any depth") {
  const Automaton nested = Compiled(R"g(root ::= "(" root ")" root | "x"?)g");
  std::string deep(5'000, '(');
  CHECK(Read(nested, deep) == Verdict::kPrefix);
  CHECK(Matches(nested, deep + "x" + std::string(5'000, ')')));
  CHECK_FALSE(Matches(nested, deep + std::string(5'001, ')')));
  CHECK(Matches(nested, "()()(x)()x"));
  // Palindromes: no automaton without alternatives in parallel reads them.
  const Automaton palindrome = Compiled(R"g(root ::= "a" root "a" | "b" root "b" | [ab]?)g");
  CHECK(Matches(palindrome, "abbabba"));
  CHECK_FALSE(Matches(palindrome, "abbabbb"));
}

TEST_CASE("a rule that calls itself first is refused, however it hides it") {
  CHECK(Contains(Refused("root ::= root \"a\" | \"b\""), "leads back to itself"));
  CHECK(Contains(Refused("root ::= a\na ::= b? c\nb ::= \"x\"\nc ::= a \"y\" | \"z\""),
                 "leads back to itself"));
  CHECK(Contains(Refused("root ::= \"a\" root"), "no finite text"));
  CHECK(Contains(Refused("root ::= []"), "no finite text"));
}

TEST_CASE("what is wrong is named with its line") {
  CHECK(Refused("root ::= \"a\"\nroot ::= \"b\"") == "line 2: \"root\" is defined twice");
  CHECK(Refused("root ::= \"a\"\n\nb := 1") == "line 3: expected ::= after \"b\"");
  CHECK(Refused("root ::= (\"a\"") == "line 1: expected )");
  CHECK(Refused("root ::= [a") == "line 1: the text ends within the class");
  CHECK(Refused("root ::= [b-a]") == "line 1: a range whose end is before its beginning");
  CHECK(Refused("root ::= \"\\q\"") == "line 1: unknown escape");
  CHECK(Refused("root ::= a\n") == "line 1: the rule \"a\" is not defined");
  CHECK(Refused("a ::= \"a\"") == "there is no rule \"root\"");
  CHECK(Contains(Refused("root ::= \"a\"{1,1000000000}"), "a count over"));
  CHECK(Contains(Refused("root ::= <|im_end|>"), "not supported"));
  CHECK(Contains(Refused("root ::= \"a\" }"), "did not expect '}' here"));
}

TEST_CASE("hostile grammars are refused soon") {
  std::string many = "root ::= r0\n";
  for (int i = 0; i < 5'000; ++i) {
    many += "r" + std::to_string(i) + " ::= \"a\" r" + std::to_string(i + 1) + "\n";
  }
  const std::vector<std::string> hostile = {
      "root ::= " + std::string(60'000, '(') + "\"a\"" + std::string(60'000, ')'),
      "root ::= (((([a-z]{128}){128}){128}){128}){128}",
      "root ::= [ab]* \"a\" [ab]{40}",  // 2^40 states when made deterministic
      many,
  };
  for (const std::string& text : hostile) {
    const auto start = std::chrono::steady_clock::now();
    CHECK_FALSE(Refused(text).empty());
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  }
}
