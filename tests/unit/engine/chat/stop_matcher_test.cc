#include "engine/chat/stop_matcher.h"

#include <catch2/catch.hpp>

namespace conclave::engine {
namespace {

StopMatcher Make(std::vector<std::string> stops) {
  auto matcher = StopMatcher::Make(std::move(stops));
  REQUIRE(matcher.ok());
  return *std::move(matcher);
}

// What comes out when the text goes in cut into pieces of `size` bytes.
std::string Cut(StopMatcher matcher, const std::string& text, size_t size, std::string* stop) {
  std::string out;
  for (size_t at = 0; at < text.size(); at += size) out += matcher.Feed(text.substr(at, size));
  *stop = matcher.matched_stop();
  return out + matcher.Finish();
}

}  // namespace

TEST_CASE("text before a stop string is given out, the stop string and the rest are not") {
  struct Case {
    std::vector<std::string> stops;
    std::string text, out, stop;
  };
  const std::vector<Case> cases = {
      {{"END"}, "one END two", "one ", "END"},
      {{"END"}, "one EN two", "one EN two", ""},
      {{"END"}, "one EN", "one EN", ""},
      {{"aab"}, "aaaab", "aa", "aab"},
      {{"abab"}, "abaabab", "aba", "abab"},
      {{"abcd", "bc"}, "xabcd", "xa", "bc"},
      {{"bc", "abc"}, "xabcd", "x", "abc"},
      {{"\n\n", "User:"}, "a\nUser: b\n\n", "a\n", "User:"},
      {{"é"}, "caf\xC3\xA9", "caf", "é"},
      {{"END"}, "END", "", "END"},
      {{}, "all of it", "all of it", ""},
  };
  for (const Case& c : cases) {
    for (size_t size = 1; size <= c.text.size(); ++size) {
      INFO(c.text << " in pieces of " << size);
      std::string stop;
      CHECK(Cut(Make(c.stops), c.text, size, &stop) == c.out);
      CHECK(stop == c.stop);
    }
  }
}

TEST_CASE("only what could become a stop string is held back") {
  StopMatcher matcher = Make({"STOP"});
  CHECK(matcher.Feed("go ST") == "go ");
  CHECK(matcher.Feed("A") == "STA");
  CHECK(matcher.Feed("STO") == "");
  CHECK(matcher.Feed("P!") == "");
  CHECK(matcher.matched());
  CHECK(matcher.Feed("more") == "");
  CHECK(matcher.Finish() == "");
}

TEST_CASE("stop strings have bounds") {
  CHECK(StopMatcher::Make({"a", ""}).status().message() == "stop[1]: is empty");
  CHECK(StopMatcher::Make(std::vector<std::string>(16, "a")).ok());
  CHECK(StopMatcher::Make(std::vector<std::string>(17, "a")).status().message() ==
        "stop: at most 16 strings, got 17");
  CHECK(StopMatcher::Make({std::string(1024, 'a')}).ok());
  CHECK_FALSE(StopMatcher::Make({std::string(1025, 'a')}).ok());
}

}  // namespace conclave::engine
