#include "engine/grammar/compile.h"

#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/pattern.h"

namespace conclave::engine::grammar {
namespace {

Rules AnyObject() {
  Rules rules;
  rules.root = rules.AddRule("root");
  JsonText json(&rules);
  rules.Define(rules.root, json.Object());
  return rules;
}

absl::StatusOr<Rules> Read(Language language, std::string_view definition) {
  switch (language) {
    case Language::kJsonObject:
      return AnyObject();
    case Language::kJsonSchema:
      return ParseJsonSchema(definition);
    case Language::kGbnf:
      return ParseGbnf(definition);
    case Language::kRegex:
      return ParsePattern(definition);
  }
  return base::Unimplemented("this language of grammars is not known");
}

std::string_view NameOf(Language language) {
  switch (language) {
    case Language::kGbnf:
      return "grammar";
    case Language::kRegex:
      return "regular expression";
    default:
      return "schema";
  }
}

}  // namespace

absl::StatusOr<Automaton> Compile(Language language, std::string_view definition) {
  ASSIGN_OR_RETURN(const Rules rules, Read(language, definition));
  auto automaton = CompileRules(rules);
  if (automaton.ok()) return automaton;
  return base::Annotate(automaton.status(), NameOf(language));
}

}  // namespace conclave::engine::grammar
