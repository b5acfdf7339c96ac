// Numbers and strings of a schema.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/grammar/intersection.h"
#include "engine/grammar/json_formats.h"
#include "engine/grammar/json_numbers.h"
#include "engine/grammar/schema_compiler.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

void Tighten(double value, bool exclusive, bool low, NumberBounds* bounds) {
  std::optional<double>& bound = low ? bounds->min : bounds->max;
  bool& out = low ? bounds->above_min : bounds->below_max;
  if (bound && *bound == value) {
    out = out || exclusive;
  } else if (!bound || (low ? value > *bound : value < *bound)) {
    bound = value;
    out = exclusive;
  }
}

}  // namespace

absl::StatusOr<ExprId> SchemaCompiler::Number(const Parts& parts, bool integer) {
  NumberBounds bounds{.integer = integer};
  std::optional<double> multiple;
  for (const Part& part : parts) {
    for (const char* keyword : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
      const JsonValue value = part.schema.Get(keyword);
      if (!value.present()) continue;
      const auto number = value.AsNumber();
      if (!number.ok()) return Wrong(Below(part.pointer, keyword), "expected a number");
      const bool exclusive = keyword[0] == 'e';
      const bool low = std::string_view(keyword).find("inimum") != std::string_view::npos;
      Tighten(*number, exclusive, low, &bounds);
    }
    const JsonValue value = part.schema.Get("multipleOf");
    if (!value.present()) continue;
    const std::string place = Below(part.pointer, "multipleOf");
    const auto number = value.AsNumber();
    if (!number.ok() || *number <= 0) return Wrong(place, "expected a number above 0");
    if (multiple && *multiple != *number) {
      RETURN_IF_ERROR(Refuse(place, "\"multipleOf\" beside another one"));
      continue;
    }
    multiple = number.value();
  }
  if (multiple) {
    const auto number = AddMultiples(bounds, *multiple, &rules_);
    if (number.ok()) return number;
    const std::string what(number.status().message());
    if (number.status().code() != absl::StatusCode::kUnimplemented) {
      return Wrong(parts[0].pointer, what);
    }
    RETURN_IF_ERROR(Refuse(parts[0].pointer, what));
  }
  const auto number = AddNumber(bounds, &rules_);
  if (number.ok()) return number;
  return Wrong(parts[0].pointer, std::string(number.status().message()));
}

// Patterns, formats and lengths must all hold: where there are several, their texts are
// intersected.
absl::StatusOr<ExprId> SchemaCompiler::String(const Parts& parts) {
  int32_t min = 0, max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minLength", "maxLength", &min, &max));
  std::vector<std::pair<std::string, std::string>> patterns;  // place, expression
  for (const Part& part : parts) {
    for (const char* keyword : {"pattern", "format"}) {
      ASSIGN_OR_RETURN(const std::optional<std::string> pattern, PatternOf(part, keyword));
      if (pattern) patterns.emplace_back(Below(part.pointer, keyword), *pattern);
    }
  }
  const bool any_length = min == 0 && max == Rules::kUnbounded;
  std::optional<Rules> all;  // of the patterns so far, and the length
  if (!any_length) {
    all.emplace();
    JsonText json(&*all, JsonText::Escapes::kWrittenOut);
    all->root = all->AddRule("root");
    all->Define(all->root, json.String(min, max));
  }
  for (const auto& [place, pattern] : patterns) {
    Rules rules;
    rules.root = rules.AddRule("root");
    JsonText json(&rules, JsonText::Escapes::kWrittenOut);
    const auto text = AddPattern(pattern, /*anywhere=*/true, json, &rules);
    if (!text.ok()) {
      RETURN_IF_ERROR(RefuseAs(place, text.status()));
      continue;
    }
    rules.Define(rules.root, rules.Sequence({rules.Text("\""), *text, rules.Text("\"")}));
    if (!all) {
      all = std::move(rules);
      continue;
    }
    RETURN_IF_ERROR(SpendCompilation(place));
    auto both = Intersect(*all, rules);
    if (!both.ok()) {
      RETURN_IF_ERROR(RefuseAs(place, both.status()));
      continue;
    }
    all.emplace();
    all->root = all->AddRule("root");
    all->Define(all->root, all->AddGraph(*std::move(both)));
  }
  return all && !patterns.empty() ? rules_.Import(*all) : json_.String(min, max);
}

// What another part of the grammar said of a keyword; OK where it is to be left out.
absl::Status SchemaCompiler::RefuseAs(std::string_view place, const absl::Status& status) const {
  const std::string what(status.message());
  if (status.code() != absl::StatusCode::kUnimplemented) return Wrong(place, what);
  return Refuse(place, what);
}

// What the keyword says as a regular expression; nullopt when it is not there.
absl::StatusOr<std::optional<std::string>> SchemaCompiler::PatternOf(const Part& part,
                                                                     const char* keyword) {
  const JsonValue value = part.schema.Get(keyword);
  if (!value.present()) return std::optional<std::string>();
  const std::string place = Below(part.pointer, keyword);
  if (!value.is_string()) return Wrong(place, "expected a string");
  const std::string text = value.AsString().value_or("");
  if (keyword[0] != 'f') return std::optional<std::string>(text);
  const std::string_view known = PatternOfFormat(text);
  if (!known.empty()) return std::optional<std::string>(std::string(known));
  RETURN_IF_ERROR(Refuse(place, absl::StrCat("the format \"", text, "\" (known are ",
                                             std::string(KnownFormats()), ")")));
  return std::optional<std::string>();
}

}  // namespace conclave::engine::grammar
