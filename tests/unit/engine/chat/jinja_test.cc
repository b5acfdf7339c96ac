// The interpreter against Jinja2's answers (tests/golden/templates).
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "base/json.h"
#include "engine/chat/conversation_values.h"
#include "engine/chat/jinja_parser.h"

namespace conclave::engine {
namespace {

jinja::Variables ReadVariables(const base::JsonValue& object) {
  const auto value = ValueOfJson(object.ToJson());
  REQUIRE(value.ok());
  jinja::Variables variables;
  for (const auto& [key, item] : value->as_dict().items) {
    variables.emplace_back(std::string(key.as_string()), item);
  }
  return variables;
}

absl::StatusOr<std::string> Render(const std::string& source, const jinja::Variables& variables,
                                   int64_t now) {
  ASSIGN_OR_RETURN(const jinja::Block block, jinja::ParseTemplate(source));
  jinja::Interpreter interpreter(jinja::Limits{}, std::chrono::system_clock::from_time_t(now));
  ASSIGN_OR_RETURN(const jinja::Text text, interpreter.Render(block, variables));
  return text.bytes;
}

}  // namespace

TEST_CASE("small templates render as Jinja2 renders them") {
  std::ifstream file(std::string(CONCLAVE_SOURCE_DIR) + "/tests/golden/templates/snippets.json");
  const std::string json(std::istreambuf_iterator<char>(file), {});
  const auto golden = base::JsonDocument::Parse(json);
  INFO(golden.status().ToString());
  REQUIRE(golden.ok());
  const jinja::Variables variables = ReadVariables(golden->root().Get("variables"));
  const int64_t now = golden->root().Get("now").AsInt().value();
  const base::JsonValue cases = golden->root().Get("cases");
  REQUIRE(cases.size() > 300);
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string source = cases.At(i).Get("template").AsString().value();
    INFO(source);
    const auto text = Render(source, variables, now);
    if (cases.At(i).Get("fails").present()) {
      CHECK_FALSE(text.ok());
      continue;
    }
    INFO(text.status().ToString());
    if (!text.ok()) {
      FAIL_CHECK("must render");
      continue;
    }
    CHECK(*text == cases.At(i).Get("text").AsString().value());
  }
}

}  // namespace conclave::engine
