#include "engine/grammar/pattern.h"

#include <catch2/catch.hpp>

#include "unit/engine/grammar/schema_checks.h"

using namespace conclave;
using namespace conclave::engine;
using namespace conclave::engine::grammar;

TEST_CASE("a pattern that looks ahead holds to what it sees there") {
  CheckAll({
      // A decimal number, as pydantic writes it.
      {R"({"pattern":"^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"})",
       {R"("1")", R"("-0.5")", R"("+.5")", R"("12.")"},
       {R"("")", R"("-")", R"(".")", R"("+.")", R"("1e3")"}},
      // An address and a span of time, as zod writes them.
      {R"({"pattern":"^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"})",
       {R"("a.b@example.org")", R"("o'neill@x.de")"},
       {R"(".a@example.org")", R"("a..b@example.org")", R"("a.@example.org")"}},
      {R"({"pattern":"^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$"})",
       {R"("P3W")", R"("P1Y2D")", R"("PT5M")", R"("P1DT2H1,5S")"},
       {R"("P")", R"("PT")", R"("P1YT")", R"("P1Y3W")"}},
      {R"({"pattern":"^(?=.*[a-z])(?=.*\\d).{3,5}$"})",
       {R"("a1-")", R"("1  z")"},
       {R"("abc")", R"("a1")"}},
      {R"({"pattern":"^(?!(admin|root)$)[a-z]+$"})",
       {R"("roots")", R"("a")"},
       {R"("root")", R"("admin")"}},
      {R"g({"pattern":"a(?!b)"})g", {R"("a")", R"("abac")", R"("xa")"}, {R"("ab")", R"("b")"}},
      {R"({"pattern":"^(?!\"x)[\"x\\\\\\n]{2}$"})",
       {R"("\"\"")", R"("x\\")", R"("\\\n")"},
       {R"("\"x")"}},
  });
}

TEST_CASE("an escape does not smuggle in what must not come") {
  const Automaton automaton = Compiled(R"({"pattern":"^(?!.*W).{1,9}$"})");
  CHECK(Matches(automaton, R"("V")"));
  CHECK_FALSE(Matches(automaton, R"("W")"));
  CHECK_FALSE(Matches(automaton, R"("\u0057")"));
}

TEST_CASE("a class that must not match means all that any reader takes it for") {
  CheckAll({
      // A no-break space is a space to some, é a letter, an Arabic digit a digit.
      {R"({"pattern":"^[^\\s]{1,3}$"})", {R"("ab")"}, {"\"\xC2\xA0\"", R"(" ")"}},
      {R"({"pattern":"^[^\\d]{1,3}$"})", {R"("ab")"}, {"\"\xD9\xA3\"", R"("3")"}},
      {R"({"pattern":"^[^\\W_]{1,3}$"})", {R"("a3")"}, {"\"\xC3\xA9\"", R"("_")", R"("-")"}},
      {R"({"pattern":"^(?!.*\\s).{1,3}$"})", {R"("ab")"}, {"\"\xC2\xA0\"", R"("a b")"}},
      {R"({"pattern":"^(?!\\D).{1,3}$"})", {R"("3a")"}, {"\"\xD9\xA3\"", R"("a")"}},
  });
}

TEST_CASE("look-ahead that cannot be read is refused by name") {
  CHECK(Contains(Refused(R"({"pattern":"^((?!ab).)*$"})"), "look-ahead that is repeated"));
  CHECK(Contains(Refused(R"({"pattern":"(?<!a)b"})"), "look-behind"));
  std::string many = "^";
  for (int i = 0; i < 40; ++i) many += "(?!a)";
  CHECK(Contains(Refused(R"({"pattern":")" + many + R"("})"), "so much look-ahead"));
  CHECK(Matches(Compiled("(?=a)a", Language::kRegex), "a"));
  CHECK_FALSE(Compile(Language::kRegex, "(?=b)a").ok());
}
