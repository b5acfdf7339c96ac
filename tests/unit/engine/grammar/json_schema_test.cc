#include "engine/grammar/json_schema.h"

#include <catch2/catch.hpp>
#include <chrono>

#include "base/json.h"
#include "engine/grammar/compile.h"
#include "unit/engine/grammar/grammar_checks.h"

using namespace conclave;
using namespace conclave::engine;
using namespace conclave::engine::grammar;

namespace {

Automaton Compiled(std::string_view schema, Language language = Language::kJsonSchema) {
  auto automaton = Compile(language, schema);
  INFO(schema << "\n" << automaton.status());
  REQUIRE(automaton.ok());
  return *std::move(automaton);
}

struct Case {
  const char* schema;
  std::vector<const char*> good;
  std::vector<const char*> bad;
};

void CheckAll(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const Automaton automaton = Compiled(c.schema);
    for (const char* text : c.good) {
      INFO(c.schema << " reads " << text);
      CHECK(Matches(automaton, text));
    }
    for (const char* text : c.bad) {
      INFO(c.schema << " refuses " << text);
      CHECK_FALSE(Matches(automaton, text));
    }
  }
}

std::string Refused(std::string_view schema) {
  const auto start = std::chrono::steady_clock::now();
  const auto automaton = Compile(Language::kJsonSchema, schema);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  INFO(schema);
  REQUIRE_FALSE(automaton.ok());
  return std::string(automaton.status().message());
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("scalars keep to their types and bounds") {
  CheckAll({
      {R"({"type":"integer"})", {"0", "-7", "120"}, {"1.5", "01", "-0", "", "1e3", "+1"}},
      {R"({"type":"number"})", {"0", "-0.5", "1e10", "2.50E-3"}, {".5", "1.", "1e", "NaN"}},
      {R"({"type":["string","null"]})",
       {"null", R"("")", R"("\u00e9\ud83e\udd99")"},
       {"1", R"("\ud83e")"}},
      {R"({"type":"string","nullable":true})", {"null", R"("a")"}, {"0"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"null", "True"}},
      {R"({"type":"integer","minimum":-12,"maximum":305})",
       {"-12", "-9", "0", "99", "305"},
       {"-13", "306", "400", "-120", "1000"}},
      {R"({"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":10})",
       {"1", "9"},
       {"0", "10", "-1"}},
      {R"({"minimum":0.25,"maximum":2.5})",
       {"0.25", "0.3", "1", "1.99", "2.5", "2.50", "2.4999"},
       {"0.2", "0.249", "2.51", "3", "0", "-1", "2.6"}},
      {R"({"type":"number","exclusiveMinimum":0,"maximum":1})",
       {"0.1", "0.001", "1", "1.0"},
       {"0", "0.0", "1.01", "-0.5"}},
      {R"({"type":"number","minimum":-1.5,"exclusiveMaximum":-0.5})",
       {"-1.5", "-1", "-0.51", "-0.6"},
       {"-0.5", "-1.51", "0", "-2", "1"}},
      {R"({"type":"number","minimum":3})", {"3", "3.0", "4.2", "100"}, {"2.9", "-4"}},
      {R"({"enum":["a",1,null,{"x":[1]}]})",
       {R"("a")", "1", "null", R"({"x":[1]})"},
       {R"("b")", "2"}},
      {R"({"type":"string","enum":["a",1]})", {R"("a")"}, {"1"}},
      {R"({"const":"x\"y"})", {R"("x\"y")"}, {R"("x")"}},
  });
}

TEST_CASE("strings keep to lengths, patterns and formats") {
  CheckAll({
      {R"({"minLength":2,"maxLength":3})",
       {R"("ab")", "\"\xC3\xA4\xF0\x9F\xA6\x99\\n\""},
       {R"("a")", R"("abcd")"}},
      {R"({"pattern":"^[a-c]+-\\d{2}$"})", {R"("abc-07")"}, {R"("-07")", R"("a-7")", R"("xa-07")"}},
      {R"({"pattern":"b+"})", {R"("b")", R"("abba")"}, {R"("a")", R"("")"}},
      {R"({"pattern":"^(say \"\\w\"|\\\\)$"})", {R"("say \"x\"")", R"("\\")"}, {R"("say x")"}},
      {R"({"format":"date"})", {R"("2024-12-31")"}, {R"("2024-13-01")", R"("2023-02-30")"}},
      {R"({"format":"date-time"})",
       {R"("2024-01-02T03:04:05Z")", R"("2024-01-02T03:04:05.25+01:30")"},
       {R"("2024-01-02")"}},
      {R"({"format":"uuid"})", {R"("123e4567-e89b-42d3-a456-426614174000")"}, {R"("123e4567")"}},
      {R"({"format":"ipv4"})", {R"("127.0.0.1")"}, {R"("256.0.0.1")"}},
      {R"({"format":"email"})", {R"("a.b@example.org")"}, {R"("a@b")", R"("@example.org")"}},
  });
}

TEST_CASE("arrays and objects keep to their members") {
  CheckAll({
      {R"({"items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1, 2,3]", "[\n  1\n]"},
       {"[]", "[1,2,3,4]", "[1,]", R"(["a"])"}},
      {R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":{"type":"null"},"minItems":1})",
       {"[1]", R"([1,"a"])", R"([1,"a",null,null])"},
       {"[]", R"(["a"])", R"([1,"a",1])"}},
      {R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"}},
      {R"({"properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"type":"null"}},
           "required":["b"],"additionalProperties":false})",
       {R"({"b":"x"})", R"({"a":1,"b":"x"})", R"({"a": 1, "b": "x", "c": null})",
        R"({"b":"","c":null})"},
       {"{}", R"({"a":1})", R"({"b":"x","a":1})", R"({"b":"x",})", R"({"b":"x","d":1})"}},
      {R"({"properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"string"}})",
       {"{}", R"({"ab":1})", R"({"ab":1,"a":"x","abc":"y"})", R"({"x":""})"},
       {R"({"ab":"x"})", R"({"a":1})", R"({"x":"y","ab":1})"}},
      {R"({"type":"object"})", {"{}", R"({"x":[{"y":null}],"z":1.5e3})"}, {"[]", R"({"x"})"}},
      {R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"x":1})"}},
  });
}

TEST_CASE("references, alternatives and conjunctions") {
  CheckAll({
      {R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":
           {"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},
           "required":["v","next"],"additionalProperties":false}}})",
       {R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1})", R"({"v":1,"next":{}})"}},
      {R"({"items":{"$ref":"#"},"type":"array"})", {"[]", "[[],[[]]]"}, {"[1]"}},
      {R"({"oneOf":[{"type":"integer"},{"type":"array","items":{"type":"boolean"}}]})",
       {"5", "[true,false]"},
       {"[1]", "true"}},
      {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},
                    {"properties":{"b":{"type":"string"},"a":{"minimum":5}}}]})",
       {R"({"a":5})", R"({"a":7,"b":"x"})"},
       {"{}", R"({"a":4})", R"({"b":"x"})"}},
      {R"({"type":"object","properties":{"k":{"type":"string"}},
           "anyOf":[{"required":["k"]},{"properties":{"n":{"type":"null"}},"required":["n"]}]})",
       {R"({"k":"x"})", R"({"n":null})", R"({"k":"x","n":null})"},
       {"{}"}},
      {"true", {"1", R"({"a":[]})"}, {"", "x"}},
  });
}

TEST_CASE("json_object is any object, a regular expression the whole text") {
  const Automaton object = Compiled("", Language::kJsonObject);
  CHECK(Matches(object, R"({"a":{"b":[1,"x"]}})"));
  CHECK_FALSE(Matches(object, "[]"));
  const Automaton regex = Compiled("(foo|ba[rz]){1,2}!?", Language::kRegex);
  CHECK(Matches(regex, "foobaz!"));
  CHECK_FALSE(Matches(regex, "xfoo"));
  CHECK(Matches(Compiled("^a\\d$", Language::kRegex), "a7"));
  CHECK_FALSE(Compile(Language::kRegex, "(?=a)a").ok());
  CHECK_FALSE(Compile(Language::kRegex, "(a)\\1").ok());
  CHECK_FALSE(Compile(Language::kRegex, "(a").ok());
}

TEST_CASE("what cannot be promised is refused with its place") {
  CHECK(Contains(Refused(R"({"properties":{"a":{"not":{}}}})"), "schema #/properties/a: \"not\""));
  CHECK(Contains(Refused(R"({"items":{"multipleOf":3}})"), "#/items: \"multipleOf\""));
  CHECK(Contains(Refused(R"({"type":"array","uniqueItems":true})"), "\"uniqueItems\""));
  CHECK(Contains(Refused(R"({"type":"strin"})"), "schema #/type:"));
  CHECK(Contains(Refused(R"({"format":"iban"})"), "schema #/format: \"iban\""));
  CHECK(Contains(Refused(R"({"pattern":"(?=a)b"})"), "schema #/pattern"));
  CHECK(Contains(Refused(R"({"$ref":"#/$defs/x"})"), "schema #/$ref: there is nothing at"));
  CHECK(Contains(Refused(R"({"$ref":"http://x/y"})"), "a reference out of this schema"));
  CHECK(Contains(Refused(R"({"$ref":"#"})"), "leads back to itself"));
  CHECK_FALSE(Refused(R"({"anyOf":[{"$ref":"#"}]})").empty());
  CHECK(Contains(Refused(R"({"minItems":3,"maxItems":2})"), "is above"));
  CHECK(Contains(Refused(R"({"type":"integer","minimum":1.2,"maximum":1.8})"), "no integer"));
  CHECK(Contains(Refused(R"({"type":"string","maxLength":1000000000})"), "schema #/maxLength"));
  CHECK(
      Contains(Refused(R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})"), "no finite text"));
  CHECK(Contains(Refused("{"), "schema"));
  CHECK(Contains(Refused("false"), "no finite text"));
  std::string deep = "true";
  for (int i = 0; i < 40; ++i) deep = R"({"items":)" + deep + "}";
  CHECK(Contains(Refused(deep), "deeper"));
}

TEST_CASE("random walks through a schema end in JSON that our own reader takes") {
  const auto grammar = std::make_shared<TokenGrammar>(
      Compiled(R"({"type":"object","properties":{
        "id":{"type":"integer","minimum":1,"maximum":99},
        "name":{"type":"string","maxLength":12},
        "tags":{"type":"array","items":{"enum":["a","b"]},"maxItems":3},
        "at":{"format":"date-time"}},"required":["id","name","at"],"additionalProperties":false})"),
      SmallVocabulary(
          {R"({"id": 12, "name": "Ada", "tags": ["a","b"], "at": "2024-01-02T03:04:05Z"})"}, 80,
          3));
  for (uint64_t seed = 0; seed < 40; ++seed) {
    std::mt19937_64 random(seed);
    Matcher matcher(grammar);
    std::string text;
    while (!matcher.must_end()) {
      REQUIRE(text.size() < 2'000);
      std::vector<TokenId> allowed;
      for (TokenId id = 0; id < grammar->trie().vocab_size(); ++id) {
        if (matcher.Mask().allows(id)) allowed.push_back(id);
      }
      REQUIRE_FALSE(allowed.empty());
      const TokenId chosen = allowed[random() % allowed.size()];
      REQUIRE(matcher.Accept(chosen));
      text += grammar->trie().bytes(chosen);
    }
    INFO(text);
    const auto document = base::JsonDocument::Parse(text);
    REQUIRE(document.ok());
    CHECK(document->root().Get("id").AsInt(1, 99).ok());
    CHECK(document->root().Get("at").is_string());
  }
}
