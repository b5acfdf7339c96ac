#include "base/json.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdlib>

namespace conclave::base {
namespace {

std::string ParseError(std::string_view text, const JsonLimits& limits = {}) {
  const auto doc = JsonDocument::Parse(text, limits);
  return doc.ok() ? "" : std::string(doc.status().message());
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a complaint names the path to the field") {
  const auto doc = JsonDocument::Parse(R"({"messages":[{"content":"a"},{"content":7}]})");
  REQUIRE(doc.ok());
  const JsonValue second = doc->root().Get("messages").At(1);
  CHECK(second.Get("content").AsString().status().message() ==
        "messages[1].content: expected string");
  CHECK(second.Get("role").AsString().status().message() == "messages[1].role: required");
  CHECK(doc->root().Get("messages").At(0).Get("content").AsString().value() == "a");
}

TEST_CASE("numbers are read with their bounds") {
  const auto doc = JsonDocument::Parse(R"({"t":2.5,"n":3,"f":5.0,"h":5.5,"z":null,"b":true})");
  REQUIRE(doc.ok());
  const JsonValue root = doc->root();
  CHECK(root.Get("t").AsNumber(0, 2).status().message() == "t: must be between 0 and 2");
  CHECK(root.Get("n").AsInt(1, 4).value() == 3);
  CHECK(root.Get("f").AsInt().value() == 5);
  CHECK_FALSE(root.Get("h").AsInt().ok());
  CHECK_FALSE(root.Get("z").OptionalNumber(0, 1).value().has_value());
  CHECK_FALSE(root.Get("none").OptionalInt(0, 1).value().has_value());
  CHECK(root.Get("b").OptionalBool().value() == std::optional<bool>(true));
  CHECK(root.Get("b").AsNumber().status().message() == "b: expected number");
}

TEST_CASE("every number is read to the nearest double") {
  for (const char* text :
       {"0E38", "-0.0", "12e-325", "1e-400", "4.9e-324", "2.2250738585072011e-308", "0.1", "1e23",
        "123456789012345678901234567890", "1.7976931348623157e308"}) {
    const auto doc = JsonDocument::Parse(text);
    REQUIRE(doc.ok());
    CHECK(doc->root().AsNumber().value() == std::strtod(text, nullptr));
  }
  CHECK(JsonDocument::Parse("18446744073709551615")->root().ToJson() == "18446744073709551615");
  CHECK(JsonDocument::Parse("-9223372036854775808")->root().AsInt().value() == INT64_MIN);
  CHECK_FALSE(JsonDocument::Parse("1e309").ok());
}

TEST_CASE("what RapidJSON would accept or crash on is refused") {
  CHECK(
      Contains(ParseError(std::string(65, '[') + std::string(65, ']')), "nesting deeper than 64"));
  CHECK(ParseError(std::string(64, '[') + std::string(64, ']')).empty());
  CHECK(Contains(ParseError(std::string(2'000'000, '[')), "nesting deeper than 64"));
  CHECK(Contains(ParseError(R"({"a":1,"b":2,"a":3})"), "duplicate key \"a\""));
  CHECK(Contains(ParseError("[1] 2"), "invalid JSON at byte"));
  CHECK_FALSE(ParseError("[NaN]").empty());
  CHECK_FALSE(ParseError("[01]").empty());
  CHECK_FALSE(ParseError("[1e999]").empty());
  CHECK_FALSE(ParseError("/*x*/[1]").empty());
  CHECK_FALSE(ParseError("\"\xED\xA0\x80\"").empty());
  CHECK_FALSE(ParseError("\"\xC0\xAF\"").empty());
  CHECK_FALSE(ParseError(R"("\ud800")").empty());
  CHECK_FALSE(ParseError(R"("\udc00")").empty());
  CHECK_FALSE(ParseError("").empty());
  CHECK(ParseError("\xEF\xBB\xBF{}").empty());
  CHECK(ParseError(R"("a\u0000b")").empty());
  CHECK_FALSE(ParseError(R"("a\u0000b")", {.allow_nul_in_strings = false}).empty());
}

TEST_CASE("the writer escapes, nests and never emits invalid UTF-8") {
  JsonWriter writer;
  writer.BeginObject();
  writer.Field("id", "a\"b\n");
  writer.Field("n", 3);
  writer.Key("list");
  writer.BeginArray();
  writer.Double(0.5);
  writer.String("\xFF");
  writer.Null();
  writer.EndArray();
  writer.RawField("raw", R"({"k":1})");
  writer.EndObject();
  CHECK(
      writer.Take() ==
      "{\"id\":\"a\\\"b\\u000a\",\"n\":3,\"list\":[0.5,\"\xEF\xBF\xBD\",null],\"raw\":{\"k\":1}}");
}

}  // namespace conclave::base
