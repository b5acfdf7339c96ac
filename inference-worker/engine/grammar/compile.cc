#include "engine/grammar/compile.h"

#include <string>

#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/pattern.h"

namespace conclave::engine::grammar {
namespace {

absl::Status At(std::string_view place, const absl::Status& status) {
  return base::WithParam(base::Annotate(status, place), place);
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

absl::StatusOr<ExprId> AddLanguage(Language language, std::string_view definition,
                                   std::string_view place, JsonText* json) {
  switch (language) {
    case Language::kJsonObject:
      return json->Object();
    case Language::kJsonSchema:
      return AddJsonSchema(definition, {.place = std::string(place)}, json);
    case Language::kGbnf: {
      const auto rules = ParseGbnf(definition);
      if (!rules.ok()) return At(place, rules.status());
      return json->rules().Import(*rules);
    }
    case Language::kRegex: {
      const auto pattern = AddPlainPattern(definition, /*anywhere=*/false, &json->rules());
      if (!pattern.ok()) return At(place, pattern.status());
      return *pattern;
    }
  }
  return base::Unimplemented("this language of grammars is not known");
}

absl::StatusOr<Automaton> Compile(Language language, std::string_view definition) {
  Rules rules;
  rules.root = rules.AddRule("root");
  JsonText json(&rules);
  const std::string_view name = NameOf(language);
  ASSIGN_OR_RETURN(const ExprId body, AddLanguage(language, definition, name, &json));
  rules.Define(rules.root, body);
  auto automaton = CompileRules(rules);
  if (automaton.ok()) return automaton;
  return At(name, automaton.status());
}

}  // namespace conclave::engine::grammar
