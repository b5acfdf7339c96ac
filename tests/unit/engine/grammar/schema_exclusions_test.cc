// "oneOf" and "not": texts of exactly one member, and of none of what must not hold.
#include <catch2/catch.hpp>

#include "engine/grammar/json_schema.h"
#include "unit/engine/grammar/schema_checks.h"

using namespace conclave;
using namespace conclave::engine;
using namespace conclave::engine::grammar;

TEST_CASE("members of oneOf that nothing shares are kept whole") {
  CheckAll({
      {R"({"oneOf":[{"type":"string"},{"type":"null"},{"type":"integer"}]})",
       {"null", "7", R"("x")"},
       {"1.5", "true"}},
      {R"({"oneOf":[
           {"properties":{"kind":{"const":"a"},"x":{"type":"integer"}},"required":["kind","x"]},
           {"properties":{"kind":{"enum":["b","c"]}},"required":["kind"]}]})",
       {R"({"kind":"a","x":1})", R"({"kind":"c"})"},
       {R"({"kind":"a"})", R"({"kind":"b","x":1})", "{}"}},
      // By the members of a member.
      {R"({"oneOf":[
           {"properties":{"m":{"properties":{"t":{"const":1}},"required":["t"]}},"required":["m"]},
           {"properties":{"m":{"properties":{"t":{"const":2}},"required":["t"]}},"required":["m"]}]})",
       {R"({"m":{"t":1}})", R"({"m":{"t":2}})"},
       {R"({"m":{"t":3}})"}},
      {R"({"oneOf":[
           {"properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false},
           {"properties":{"b":{"type":"integer"}},"required":["b"],"additionalProperties":false}]})",
       {R"({"a":1})", R"({"b":1})"},
       {"{}", R"({"a":1,"b":1})"}},
      {R"({"oneOf":[{"format":"date"},{"format":"uuid"}],"type":"string"})",
       {R"("2024-02-01")", R"("123e4567-e89b-42d3-a456-426614174000")"},
       {R"("x")"}},
      {R"({"oneOf":[{"items":{"type":"null"},"minItems":1},{"items":{"type":"integer"},"minItems":1}],
           "type":"array"})",
       {"[null]", "[1,2]"},
       {"[]", "[1,null]"}},
      {R"({"oneOf":[{"type":"integer","maximum":0},{"type":"integer","exclusiveMinimum":0}]})",
       {"0", "1", "-5"},
       {}},
      {R"({"$ref":"#/$defs/e","$defs":{"e":{"oneOf":[{"type":"null"},
           {"type":"object","properties":{"op":{"const":"+"},"l":{"$ref":"#/$defs/e"}},"required":["op","l"]},
           {"type":"object","properties":{"op":{"const":"-"},"l":{"$ref":"#/$defs/e"}},"required":["op","l"]}]}}})",
       {"null", R"({"op":"+","l":{"op":"-","l":null}})"},
       {R"({"op":"*","l":null})"}},
  });
}

TEST_CASE("of members of oneOf that overlap the rest is left") {
  CheckAll({
      {R"({"properties":{"a":{"type":"null"},"b":{"type":"null"}},
           "oneOf":[{"required":["a"]},{"required":["b"]}]})",
       {R"({"a":null})", R"({"b":null})"},
       {"{}", R"({"a":null,"b":null})"}},
      // The tag is no longer left out, as either could be meant.
      {R"({"oneOf":[{"properties":{"kind":{"const":"a"}}},{"properties":{"kind":{"const":"b"}}}],
           "type":"object"})",
       {R"({"kind":"a"})", R"({"kind":"b"})"},
       {"{}"}},
      {R"({"oneOf":[{"const":"x"},{"enum":["x","y"]},{"const":1},{"const":1.0}]})",
       {R"("y")"},
       {R"("x")", "1", "1.0"}},
      {R"({"oneOf":[{"enum":["red","blue"]},{"type":"string","maxLength":5}]})",
       {R"("green")", R"("re")", R"("")"},
       {R"("red")", R"("r\u0065d")", R"("yellow")"}},
      {R"({"oneOf":[{"pattern":"^a"},{"pattern":"z$"}],"type":"string"})",
       {R"("a")", R"("z")", R"("bz")"},
       {R"("az")", R"("")"}},
      {R"({"type":"integer","oneOf":[{"minimum":0,"maximum":10},{"minimum":5,"maximum":15}]})",
       {"0", "4", "11", "15"},
       {"5", "10", "16"}},
      {R"({"oneOf":[{"type":"number","minimum":10,"maximum":30},{"enum":["red",25,12]}]})",
       {"10", "11.5", "24.99", "30", R"("red")"},
       {"12", "25", "25.0"}},
      {R"({"type":"array","items":{"type":"null"},"oneOf":[{"maxItems":3},{"minItems":2}]})",
       {"[]", "[null]", "[null,null,null,null]"},
       {"[null,null]"}},
      // Names that a chosen alternative brings count, too.
      {R"({"oneOf":[{"properties":{"a":{"type":"null"}},"required":["a"],
           "anyOf":[{"properties":{"x":{"type":"null"}},"required":["x"]},{"required":["a"]}]},
           {"properties":{"x":{"const":1}},"required":["x"]}],"type":"object"})",
       {R"({"a":null,"x":null})", R"({"a":null})", R"({"x":1})"},
       {R"({"a":null,"x":1})"}},
  });
}

TEST_CASE("what must not hold does not") {
  CheckAll({
      {R"({"type":"string","not":{"enum":["abc",""]}})", {R"("ab")"}, {R"("abc")", R"("")"}},
      {R"({"type":["string","null","integer"],"not":{"type":"null"}})", {"1", R"("")"}, {"null"}},
      {R"({"enum":[1,2,"x"],"not":{"type":"string"}})", {"1", "2"}, {R"("x")"}},
      {R"({"properties":{"a":{"type":"null"},"b":{"type":"null"}},"not":{"required":["a","b"]}})",
       {"{}", R"({"a":null})", R"({"b":null})"},
       {R"({"a":null,"b":null})"}},
      {R"({"properties":{"never":{"not":{}},"a":{"type":"null"}}})",
       {"{}", R"({"a":null})"},
       {R"({"never":1})"}},
      {R"({"type":"string","not":{"anyOf":[{"const":"a"},{"pattern":"^b"}]}})",
       {R"("c")", R"("aa")", R"("ab")"},
       {R"("a")", R"("b")", R"("bc")"}},
      {R"({"type":"boolean","not":{"const":true}})", {"false"}, {"true"}},
  });
}

TEST_CASE("schemas that cannot be told apart are refused with their place") {
  CHECK(
      Contains(Refused(R"({"properties":{"a":{"oneOf":[{"type":"integer","multipleOf":3},
                          {"type":"null"},{"type":"integer","multipleOf":5}]}}})"),
               "schema.properties.a.oneOf: \"oneOf\" whose members 0 and 2 cannot be told apart"));
  CHECK(Contains(Refused(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})"), "told apart"));
  CHECK(Contains(Refused(R"({"type":"object","oneOf":[{"properties":{"a":{"type":"integer"}}},
                          {"properties":{"a":{"type":"number"}}}]})"),
                 "told apart"));
  CHECK(Contains(Refused(R"({"type":"array","not":{"contains":{"const":1}}})"),
                 "schema.not: \"not\" of this schema is not supported"));
  // What is not written anywhere is named by where it comes from.
  std::string many = R"({"oneOf":[)";
  for (int i = 0; i < 300; ++i) {
    many += std::string(i > 0 ? "," : "") + R"({"type":"string","minLength":)" + std::to_string(i) +
            "}";
  }
  CHECK(Contains(Refused(many + "]}"), "schema.oneOf: more than 256 schemas hold at once"));
  CHECK(Contains(Refused(R"({"not":{"not":{"type":"string"}}})"), "\"not\" within \"not\""));
  // Everything is of both, so nothing of one.
  CHECK(Contains(Refused(R"({"oneOf":[{"type":"string"},{"type":"string"}]})"), "no finite text"));
  CHECK(Contains(Refused(R"({"pattern":"^a","maxLength":4,"not":{"type":"string","maxLength":4}})"),
                 "no finite text"));
  // Of a tool that is not strict it is left out.
  const auto lenient = ParseJsonSchema(
      R"({"oneOf":[{"type":"integer","multipleOf":3},{"type":"integer","multipleOf":5}]})",
      {.lenient = true});
  REQUIRE(lenient.ok());
  CHECK(Matches(*CompileRules(*lenient), "9"));
}

TEST_CASE("a reference to alternatives is one of them") {
  CheckAll({
      {R"({"properties":{"q":{"$ref":"#/$defs/Q","description":"x"}},"required":["q"],
           "$defs":{"Q":{"anyOf":[{"type":"string","maxLength":1},{"type":"null"}]}}})",
       {R"({"q":null})", R"({"q":"a"})"},
       {R"({"q":1})", R"({"q":"ab"})"}},
      {R"({"allOf":[{"$ref":"#/$defs/Q"},{"anyOf":[{"type":"string"},{"type":"integer"}]}],
           "$defs":{"Q":{"anyOf":[{"type":"string","maxLength":1},{"type":"null"}]}}})",
       {R"("a")"},
       {"null", "1"}},
  });
}

TEST_CASE("alternatives that are nothing but each other are none") {
  CHECK(Contains(Refused(R"({"anyOf":[{"$ref":"#"}]})"), "no finite text"));
  CheckAll({
      {R"({"$ref":"#/$defs/A","$defs":{"A":{"anyOf":[{"$ref":"#/$defs/B"},{"const":1}]},
           "B":{"anyOf":[{"$ref":"#/$defs/A"},{"const":2}]}}})",
       {"1", "2"},
       {"3", "null"}},
      // Twice the same is no circle.
      {R"({"allOf":[{"$ref":"#/$defs/A"},{"anyOf":[{"$ref":"#/$defs/A"},{"type":"null"}]}],
           "$defs":{"A":{"anyOf":[{"const":1},{"const":2}]}}})",
       {"1", "2"},
       {"null"}},
  });
}

TEST_CASE("many members are compiled or refused soon") {
  std::string constants = R"({"oneOf":[)", objects = constants;
  for (int i = 0; i < 200; ++i) {
    const std::string n = std::to_string(i), comma = i > 0 ? "," : "";
    constants += comma + R"({"const":"c)" + n + R"(","title":"t"})";
    objects += comma + R"({"properties":{"kind":{"const":"k)" + n + R"("}},"required":["kind"]})";
  }
  CHECK(Matches(Compiled(constants + "]}"), R"("c199")"));
  const auto many = Compile(Language::kJsonSchema, objects + "]}");
  CHECK((many.ok() || Contains(std::string(many.status().message()), "too many schemas")));
}
