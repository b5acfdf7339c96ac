#include "engine/grammar/json_schema.h"

#include <catch2/catch.hpp>

#include "base/json.h"
#include "engine/grammar/compile.h"
#include "unit/engine/grammar/grammar_checks.h"
#include "unit/engine/grammar/schema_checks.h"

using namespace conclave;
using namespace conclave::engine;
using namespace conclave::engine::grammar;

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
      {R"({"type":"number","exclusiveMaximum":100,"exclusiveMinimum":-1.5})",
       {"99.9999", "-1.4999", "0"},
       {"100", "99.9999999999999999", "-1.4999999999999999", "-1.5"}},
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
      {R"({"pattern":"^[a-z]+$","minLength":2,"maxLength":4})",
       {R"("ab")", R"("abcd")"},
       {R"("a")", R"("abcde")", R"("aB")"}},
      {R"({"pattern":"b","maxLength":2})", {R"("b")", R"("ab")"}, {R"("abc")", R"("aa")"}},
      {R"({"allOf":[{"pattern":"^a"},{"pattern":"z$"}],"maxLength":5})",
       {R"("az")", R"("abyz")"},
       {R"("a")", R"("z")", R"("abcdez")"}},
      {R"({"format":"date","pattern":"^2024"})", {R"("2024-12-31")"}, {R"("2023-12-31")"}},
      {R"({"format":"date"})", {R"("2024-12-31")"}, {R"("2024-13-01")", R"("2023-02-30")"}},
      {R"({"format":"date-time"})",
       {R"("2024-01-02T03:04:05Z")", R"("2024-01-02T03:04:05.25+01:30")"},
       {R"("2024-01-02")"}},
      {R"({"format":"uuid"})", {R"("123e4567-e89b-42d3-a456-426614174000")"}, {R"("123e4567")"}},
      {R"({"format":"ipv4"})", {R"("127.0.0.1")"}, {R"("256.0.0.1")"}},
      {R"({"format":"uuid4"})",
       {R"("123e4567-e89b-42d3-a456-426614174000")"},
       {R"("123e4567-e89b-12d3-a456-426614174000")"}},
      {R"({"format":"base64"})", {R"("")", R"("YWI=")", R"("YQ==")"}, {R"("YWI")", R"("YR==")"}},
      {R"({"format":"ipv4network"})", {R"("10.1.0.0/16")", R"("1.2.3.4/32")"}, {R"("1.2.3.4/8")"}},
      {R"({"format":"password","maxLength":2})", {R"("x ")"}, {R"("xyz")"}},
      // A length that the format keeps anyway, and one that counts far.
      {R"({"format":"uri","minLength":1,"maxLength":2083})", {R"("https://x.org/a")"}, {R"("x")"}},
      {R"({"pattern":"^[a-z]+$","minLength":2,"maxLength":1000})", {R"("ab")"}, {R"("a")"}},
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
  CHECK_FALSE(Compile(Language::kRegex, "(?<=a)a").ok());
  CHECK_FALSE(Compile(Language::kRegex, "(a)\\1").ok());
  CHECK_FALSE(Compile(Language::kRegex, "(a").ok());
}

TEST_CASE("multiples are named, or their digits followed") {
  CheckAll({
      {R"({"type":"integer","multipleOf":5,"minimum":-10,"maximum":21})",
       {"-10", "-5", "0", "5", "20"},
       {"-15", "25", "1", "7", "-0"}},
      {R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "1001", "700"}, {"1", "8", "-15"}},
      {R"({"type":"integer","multipleOf":7,"minimum":0})", {"0", "49"}, {"-7", "50"}},
      {R"({"multipleOf":0.01})", {"1", "0.5", "-2.25", "10.00"}, {"0.001", "1.", ".5", "1.255"}},
      {R"({"multipleOf":0.25})", {"0.25", "1.5", "3", "7.75", "0.0"}, {"0.3", "0.05", "1.2"}},
      {R"({"multipleOf":0.1,"exclusiveMinimum":0,"maximum":0.3})",
       {"0.1", "0.2", "0.3"},
       {"0", "0.4", "0.15"}},
      {R"({"type":"integer","multipleOf":0.5})", {"1", "2"}, {"0.5"}},
      {R"({"type":"integer","multipleOf":2.5})", {"0", "5", "10"}, {"2", "7"}},
  });
}

TEST_CASE("items of few values come once each") {
  CheckAll({
      {R"({"items":{"enum":["a","b",3]},"uniqueItems":true})",
       {"[]", R"(["b"])", R"(["b", 3, "a"])"},
       {R"(["a","a"])", R"(["a","b","a"])", R"(["c"])"}},
      {R"({"items":{"enum":["a","b","c"]},"uniqueItems":true,"minItems":2,"maxItems":2})",
       {R"(["c","a"])"},
       {R"(["a"])", R"(["a","b","c"])"}},
      {R"({"type":"array","items":{"type":["boolean","null"]},"uniqueItems":true})",
       {"[null,true,false]"},
       {"[true,true]"}},
      // Many values: in their order.
      {R"({"items":{"type":"integer","minimum":1,"maximum":20},"uniqueItems":true,"minItems":1})",
       {"[12]", "[1,10,2]"},
       {"[]", "[1,1]", "[21]"}},
      {R"({"type":"array","items":{"type":"string"},"uniqueItems":true,"maxItems":1})",
       {"[]", R"(["x"])"},
       {R"(["x","y"])"}},
      {R"({"items":{"type":"integer"},"contains":{"minimum":100}})",
       {"[100]", "[1,200,3]"},
       {"[]", "[1,2]"}},
  });
}

TEST_CASE("objects are counted, and their names kept to a shape") {
  CheckAll({
      {R"({"properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}},
           "minProperties":2,"additionalProperties":false})",
       {R"({"a":null,"c":null})", R"({"a":null,"b":null,"c":null})"},
       {"{}", R"({"b":null})"}},
      {R"({"properties":{"a":{"type":"null"},"b":{"type":"null"}},"maxProperties":1})",
       {"{}", R"({"b":null})"},
       {R"({"a":null,"b":null})"}},
      {R"({"type":"object","additionalProperties":{"type":"integer"},"minProperties":1,
           "maxProperties":2})",
       {R"({"x":1})", R"({"x":1,"y":2})"},
       {"{}", R"({"x":1,"y":2,"z":3})"}},
      {R"({"patternProperties":{"^x-[a-z]+$":{"type":"integer"}},"additionalProperties":false})",
       {"{}", R"({"x-a":1,"x-bc":2})"},
       {R"({"y":1})", R"({"x-a":"1"})"}},
      {R"({"propertyNames":{"pattern":"^[a-z]{1,3}$"},"additionalProperties":{"type":"boolean"}})",
       {R"({"abc":true})"},
       {R"({"abcd":true})", R"({"A":true})"}},
      {R"({"propertyNames":{"enum":["de","en"]},"additionalProperties":{"type":"string"}})",
       {R"({"de":"x","en":"y"})"},
       {R"({"fr":"x"})"}},
      {R"({"properties":{"card":{"type":"string"},"name":{"type":"string"},"n":{"type":"null"}},
           "dependentRequired":{"card":["name"]},"additionalProperties":false})",
       {"{}", R"({"name":"x"})", R"({"card":"1","name":"x"})", R"({"n":null})"},
       {R"({"card":"1"})", R"({"card":"1","n":null})"}},
      {R"({"type":"object","properties":{},"additionalProperties":false})", {"{}"}, {"{ }"}},
  });
}

TEST_CASE("values by name keep to the other keywords, too") {
  CheckAll({
      {R"({"enum":["a","abc",7],"minLength":2,"type":"string"})", {R"("abc")"}, {R"("a")", "7"}},
      {R"({"enum":[1,2,3,40],"minimum":2})", {"2", "3", "40"}, {"1"}},
      {R"({"enum":["a1","b"],"pattern":"[0-9]"})", {R"("a1")"}, {R"("b")"}},
  });
}

TEST_CASE("what cannot be promised is refused with its place") {
  CHECK(Contains(Refused(R"({"properties":{"a":{"else":{}}}})"), "schema.properties.a: \"else\""));
  CHECK(Contains(Refused(R"({"items":{"multipleOf":0}})"), "schema.items.multipleOf: expected"));
  CHECK(Contains(Refused(R"({"multipleOf":1.5,"minimum":2})"), "\"multipleOf\" with these bounds"));
  CHECK(Contains(Refused(R"({"multipleOf":5,"minimum":6,"maximum":9})"), "no multiple"));
  CHECK(Contains(Refused(R"({"type":"array","uniqueItems":true})"), "\"uniqueItems\""));
  CHECK(Contains(Refused(R"({"anyOf":[{"type":"null"},{"type":"strin"}]})"),
                 "schema.anyOf[1].type:"));
  CHECK(Contains(Refused(R"({"type":"strin"})"), "schema.type:"));
  CHECK(Contains(Refused(R"({"format":"iban"})"), "schema.format: the format \"iban\""));
  CHECK(Contains(Refused(R"({"pattern":"(?<=a)b"})"), "schema.pattern"));
  CHECK(Contains(Refused(R"({"$ref":"#/$defs/x"})"), "schema.$ref: there is nothing at"));
  CHECK(Contains(Refused(R"({"$ref":"http://x/y"})"), "a reference out of this schema"));
  CHECK(Contains(Refused(R"({"$ref":"#"})"), "leads back to itself"));

  CHECK(Contains(Refused(R"({"minItems":3,"maxItems":2})"), "is above"));
  CHECK(Contains(Refused(R"({"type":"integer","minimum":1.2,"maximum":1.8})"), "no integer"));
  CHECK(Contains(Refused(R"({"type":"string","maxLength":1000000000})"), "schema.maxLength"));
  CHECK(Contains(Refused(R"({"minProperties":3,"additionalProperties":true})"),
                 "\"minProperties\" where names are free"));
  CHECK(Contains(Refused(R"({"patternProperties":{"a":{},"b":{}}})"), "\"patternProperties\""));
  CHECK(Contains(Refused(R"({"if":{},"then":{}})"), "\"if\""));
  CHECK(Contains(Refused(R"({"pattern":"^(a{300})+$","maxLength":500})"), "counts above 256"));
  CHECK(Contains(Refused(R"({"pattern":"^a+$","maxLength":50000})"), "too complex together"));
  CHECK(Contains(Refused(R"({"pattern":"^a{3}$","maxLength":2})"), "no text satisfies both"));
  CHECK(
      Contains(Refused(R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})"), "no finite text"));
  CHECK(Contains(Refused("{"), "schema"));
  CHECK(Contains(Refused("false"), "no finite text"));
  std::string deep = "true";
  for (int i = 0; i < 40; ++i) deep = R"({"items":)" + deep + "}";
  CHECK(Contains(Refused(deep), "deeper"));
}

TEST_CASE("schemas that multiply are refused before they have") {
  std::string ways = R"({"allOf":[)";
  for (int i = 0; i < 8; ++i) {
    ways += std::string(i > 0 ? "," : "") + R"({"anyOf":[)";
    for (int j = 0; j < 8; ++j) {
      const std::string name = "\"k" + std::to_string(i) + "_" + std::to_string(j) + "\"";
      ways += std::string(j > 0 ? "," : "") + R"({"properties":{)" + name +
              R"(:{"type":"string"}},"required":[)" + name + "]}";
    }
    ways += "]}";
  }
  CHECK(Contains(Refused(ways + "]}"), "too many schemas that hold together"));
  std::string shaped = R"({"properties":{)";
  for (int i = 0; i < 70; ++i) {
    shaped += std::string(i > 0 ? "," : "") + "\"p" + std::to_string(i) +
              R"(":{"pattern":"^[a-z]+$","maxLength":)" + std::to_string(i + 1) + "}";
  }
  CHECK(Contains(Refused(shaped + "}}"), "more than 64 strings"));
}

TEST_CASE("a refusal is about the caller's own field, and leniency leaves out what it must") {
  const std::string schema = R"({"properties":{"a":{"type":"string","then":{}}}})";
  const auto refused = ParseJsonSchema(schema, {.place = "tools[2].function.parameters"});
  CHECK(refused.status().code() == absl::StatusCode::kUnimplemented);
  CHECK(base::ParamOf(refused.status()) == "tools[2].function.parameters.properties.a");
  CHECK(Contains(std::string(refused.status().message()),
                 "tools[2].function.parameters.properties.a: \"then\" is not supported"));
  const auto lenient = ParseJsonSchema(schema, {.lenient = true});
  REQUIRE(lenient.ok());
  const Automaton automaton = *CompileRules(*lenient);
  CHECK(Matches(automaton, R"({"a":"x"})"));
  CHECK_FALSE(Matches(automaton, R"({"a":1})"));
  // Malformed is malformed.
  CHECK_FALSE(ParseJsonSchema(R"({"type":"strin"})", {.lenient = true}).ok());
  const auto object = ParseJsonSchema("{}", {.object = true});
  REQUIRE(object.ok());
  CHECK(Matches(*CompileRules(*object), R"({"a":[1]})"));
  CHECK_FALSE(Matches(*CompileRules(*object), "1"));
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
