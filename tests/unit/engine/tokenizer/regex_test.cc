#include "engine/tokenizer/regex.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <string>

#include "engine/tokenizer/pretokenize.h"

namespace conclave::engine {
namespace {

// The matches of an expression, each as "begin-end".
std::string Matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::Compile(pattern);
  INFO(regex.status().ToString());
  REQUIRE(regex.ok());
  const ScannedText scanned(text);
  std::vector<RegexMatch> matches;
  regex->FindAll(scanned, 0, scanned.scalars.size(), &matches);
  std::string all;
  for (const RegexMatch& match : matches) {
    all += (all.empty() ? "" : " ") + std::to_string(match.begin) + "-" + std::to_string(match.end);
  }
  return all;
}

std::string Refusal(std::string_view pattern) {
  return std::string(Regex::Compile(pattern).status().message());
}

// Text that the expressions of tokenizers have something to do with.
std::string RandomText(std::mt19937_64* random, size_t scalars) {
  const std::u32string pool =
      U"aAzZéÉſʰǅ09²Ⅷ١  \t\n\r\u00a0\u3000.,!$`'/sStTlLdD日か가\u0301\u200d🦙";
  std::string text;
  for (size_t i = 0; i < scalars; ++i) AppendUtf8(pool[(*random)() % pool.size()], &text);
  return text;
}

double SecondsOf(std::string_view pattern, const std::string& text) {
  const auto regex = *Regex::Compile(pattern);
  const ScannedText scanned(text);
  std::vector<RegexMatch> matches;
  const auto start = std::chrono::steady_clock::now();
  regex.FindAll(scanned, 0, scanned.scalars.size(), &matches);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("expressions match the leftmost place by the order of their alternatives") {
  CHECK(Matches("a|ab", "ab") == "0-1");
  CHECK(Matches("a*?b|a+", "aab aa") == "0-3 4-6");
  CHECK(Matches("x{2}|x{3,}", "xxxxx") == "0-2 2-4");
  CHECK(Matches("x{,2}y", "xxxy") == "1-4");
  CHECK(Matches("a{x}", "a{x}") == "0-4");
  CHECK(Matches("(?i:L)l", "Ll ll lL") == "0-2 3-5");
  CHECK(Matches("[^a-c&&[b-z]]+", "abcd") == "0-1 3-4");
  CHECK(Matches("[a-z&&[^aeiou]]+", "hello") == "0-1 2-4");
  CHECK(Matches(R"(\p{Lu}\P{Lu})", "aBcD") == "1-3");
  CHECK(Matches(R"([[:alpha:]]+|\h+)", "ab12") == "0-2 2-4");
  CHECK(Matches(R"(\p{Han}+)", "x日本y") == "1-3");
}

TEST_CASE("looks, anchors and possessive quantifiers see the text around a place") {
  CHECK(Matches(R"(\s+(?!\S)|\s+)", "a   b  ") == "1-3 3-4 5-7");
  CHECK(Matches(R"(\d{1,3}(?=(?:\d{3})*\b))", "1234567") == "0-1 1-4 4-7");
  CHECK(Matches("(?<=a|bb)x", "ax bx bbx") == "1-2 8-9");
  CHECK(Matches("(?<!a)x", "ax bx") == "4-5");
  CHECK(Matches("a++a", "aaa").empty());
  CHECK(Matches("(?>a+)b", "aab") == "0-3");
  CHECK(Matches("^b$", "a\nb\nc") == "2-3");
  CHECK(Matches(R"(\Aa|a\z)", "aba") == "0-1 2-3");
  CHECK(Matches("(?=b)", "abb") == "1-1 2-2");
  CHECK(Matches("(a*)*b", "aab") == "0-3");
}

TEST_CASE("what is no expression, or one of another kind, is refused with the place") {
  CHECK(Refusal("a(b") == "regular expression, byte 3: missing )");
  CHECK(Refusal("a)") == "regular expression, byte 1: unmatched )");
  CHECK(Refusal("[a") == "regular expression, byte 2: missing ]");
  CHECK(Refusal("*a") == "regular expression, byte 0: nothing to repeat");
  CHECK(Refusal("a{5,2}") ==
        "regular expression, byte 1: a count whose end is before its beginning");
  CHECK(Refusal(R"(\p{Klingon})") == R"(regular expression, byte 3: \p{Klingon} is not supported)");
  CHECK(Regex::Compile(R"((a)\1)").status().code() == absl::StatusCode::kUnimplemented);
  CHECK(Regex::Compile("(?<=a+)b").status().code() == absl::StatusCode::kUnimplemented);
  CHECK_FALSE(Regex::Compile("((a{1000}){1000}){1000}").ok());
  CHECK_FALSE(Regex::Compile("(?:(?:(?:){1000}){1000}){1000}").ok());
  CHECK_FALSE(Regex::Compile(std::string(100'000, '(')).ok());
}

TEST_CASE("the hand-written stages cut as the expressions they stand for") {
  std::mt19937_64 random(5);
  for (const std::string_view expression : KnownCutExpressions()) {
    CAPTURE(expression);
    const auto regex = Regex::Compile(expression);
    INFO(regex.status().ToString());
    REQUIRE(regex.ok());
    for (int i = 0; i < 2000; ++i) {
      const std::string text = RandomText(&random, 1 + random() % 24);
      const ScannedText scanned(text);
      const size_t end = scanned.scalars.size();
      std::vector<size_t> fast, slow;
      FindCutStage(expression)(scanned, 0, end, &fast);
      std::vector<RegexMatch> matches;
      regex->FindAll(scanned, 0, end, &matches);
      size_t at = 0;
      for (const RegexMatch& match : matches) {
        if (at < match.begin) slow.push_back(match.begin);
        slow.push_back(at = match.end);
      }
      if (at < end) slow.push_back(end);
      INFO(text);
      REQUIRE(fast == slow);
    }
  }
}

TEST_CASE("matching takes linear time on what makes backtracking explode") {
  const std::string letters(200'000, 'a'), digits(200'000, '1'), spaces(200'000, ' ');
  CHECK(SecondsOf("(a|aa)+b", letters) < 5);
  CHECK(SecondsOf("a.*a.*a.*b", letters) < 5);
  CHECK(SecondsOf(R"(\d{1,3}(?=(?:\d{3})*\b))", digits + "x") < 5);
  CHECK(SecondsOf(R"(\s+$)", spaces + "x") < 5);
}

}  // namespace conclave::engine
