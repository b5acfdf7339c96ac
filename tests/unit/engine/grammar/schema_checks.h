// What the tests of schemas ask: which texts are of a schema, and how it is refused.
#pragma once

#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/compile.h"
#include "unit/engine/grammar/grammar_checks.h"

namespace conclave::engine::grammar {

inline Automaton Compiled(std::string_view schema, Language language = Language::kJsonSchema) {
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

inline void CheckAll(const std::vector<Case>& cases) {
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

inline std::string Refused(std::string_view schema) {
  const auto start = std::chrono::steady_clock::now();
  const auto automaton = Compile(Language::kJsonSchema, schema);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  INFO(schema);
  REQUIRE_FALSE(automaton.ok());
  return std::string(automaton.status().message());
}

inline bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace conclave::engine::grammar
