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

Rules RulesOf(Graph graph) {
  Rules rules;
  rules.root = rules.AddRule("root");
  rules.Define(rules.root, rules.AddGraph(std::move(graph)));
  return rules;
}

Rules AnyText() {
  Rules rules;
  rules.root = rules.AddRule("root");
  rules.Define(rules.root, rules.Repeat(rules.Set(Complement({})), 0, Rules::kUnbounded));
  return rules;
}

// How many characters the texts of an expression hold; nullopt: it cannot be told.
struct Lengths {
  int64_t min = 0;
  int64_t max = 0;
};
constexpr int64_t kEndless = int64_t{1} << 40;

std::optional<Lengths> LengthsOf(const Rules& rules, ExprId id, int depth = 0) {
  const Expr& expr = rules.expr(id);
  if (depth > 64 || rules.full()) return std::nullopt;
  switch (expr.kind) {
    case Expr::Kind::kSet:
      return Lengths{1, 1};
    case Expr::Kind::kSequence:
    case Expr::Kind::kChoice: {
      std::optional<Lengths> sum;
      for (const ExprId part : expr.parts) {
        const std::optional<Lengths> one = LengthsOf(rules, part, depth + 1);
        if (!one) return std::nullopt;
        if (!sum) {
          sum = one;
        } else if (expr.kind == Expr::Kind::kSequence) {
          sum = Lengths{sum->min + one->min, std::min(sum->max + one->max, kEndless)};
        } else {
          sum = Lengths{std::min(sum->min, one->min), std::max(sum->max, one->max)};
        }
      }
      return sum;
    }
    case Expr::Kind::kRepeat: {
      const std::optional<Lengths> one = LengthsOf(rules, expr.parts[0], depth + 1);
      if (!one) return std::nullopt;
      const int64_t times = expr.max == Rules::kUnbounded ? kEndless : expr.max;
      return Lengths{one->min * expr.min, one->max >= kEndless / std::max<int64_t>(times, 1)
                                              ? kEndless
                                              : one->max * times};
    }
    case Expr::Kind::kCall:
      return LengthsOf(rules, rules.body(expr.rule), depth + 1);
    case Expr::Kind::kText:
      if (expr.text.empty()) return Lengths{0, 0};
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// Whether no text of the pattern is shorter or longer than that.
bool LengthsWithin(std::string_view pattern, int32_t min, int32_t max) {
  if (min == 0 && max == Rules::kUnbounded) return true;
  Rules rules;
  const auto text = AddPlainPattern(pattern, /*anywhere=*/true, &rules);
  if (!text.ok()) return false;
  const std::optional<Lengths> lengths = LengthsOf(rules, *text);
  return lengths && lengths->min >= min && (max == Rules::kUnbounded || lengths->max <= max);
}

bool HasValues(const SchemaParts& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const SchemaPart& part) {
    return part.schema.Get("enum").present() || part.schema.Get("const").present();
  });
}

}  // namespace

absl::StatusOr<NumberBounds> SchemaCompiler::BoundsOf(const Parts& parts) const {
  NumberBounds bounds;
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
  }
  return bounds;
}

absl::StatusOr<ExprId> SchemaCompiler::Number(const Parts& parts, bool integer) {
  ASSIGN_OR_RETURN(NumberBounds bounds, BoundsOf(parts));
  bounds.integer = integer;
  std::optional<double> multiple;
  for (const Part& part : parts) {
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

// One pattern or format alone is written as it is. Where there are several, or a length beside
// them, they are intersected as texts without escapes, of which there is one spelling each, and
// written down afterwards.
absl::StatusOr<ExprId> SchemaCompiler::String(const Parts& parts) {
  int32_t min = 0, max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minLength", "maxLength", &min, &max));
  ASSIGN_OR_RETURN(const std::vector<PatternAt> patterns, PatternsOf(parts));
  const bool excludes =
      std::any_of(parts.begin(), parts.end(), [](const Part& part) { return part.settled; });
  if (patterns.empty() && !excludes) return json_.String(min, max);
  const ExprId quote = rules_.Text("\"");
  if (patterns.size() == 1 && !excludes && LengthsWithin(patterns[0].pattern, min, max)) {
    Rules rules;
    JsonText json(&rules, JsonText::Escapes::kWrittenOut);
    const auto text = AddPattern(patterns[0].pattern, /*anywhere=*/true, json, &rules);
    if (!text.ok()) {
      RETURN_IF_ERROR(RefuseAs(patterns[0].place, text.status()));
      return json_.String(min, max);
    }
    rules.root = rules.AddRule("root");
    rules.Define(rules.root, *text);
    return rules_.Sequence({quote, rules_.Import(rules), quote});
  }
  ASSIGN_OR_RETURN(const std::optional<Rules> texts, StringBesides(parts));
  if (!texts) return json_.String(min, max);
  if (texts->num_rules() == 0) return rules_.Choice({});
  auto graph = AsGraph(*texts);
  if (!graph.ok()) {
    RETURN_IF_ERROR(RefuseAs(parts[0].pointer, graph.status()));
    return json_.String(min, max);
  }
  return rules_.Sequence({quote, rules_.AddGraph(json_.Written(*std::move(graph))), quote});
}

absl::StatusOr<std::vector<SchemaCompiler::PatternAt>> SchemaCompiler::PatternsOf(
    const Parts& parts) {
  std::vector<PatternAt> patterns;
  for (const Part& part : parts) {
    for (const char* keyword : {"pattern", "format"}) {
      ASSIGN_OR_RETURN(const std::optional<std::string> pattern, PatternOf(part, keyword));
      if (pattern) patterns.push_back({Below(part.pointer, keyword), *pattern});
    }
  }
  return patterns;
}

// Those of `parts` that are none of what they must not be; nullopt: any; without rules: none.
absl::StatusOr<std::optional<Rules>> SchemaCompiler::StringBesides(const Parts& parts) {
  ASSIGN_OR_RETURN(std::optional<Rules> all, PlainStrings(parts, /*away=*/false));
  for (const Part& part : parts) {
    if (!part.settled) continue;
    const Exclusion exclusion = exclusions_[static_cast<size_t>(part.besides)];
    ASSIGN_OR_RETURN(const std::optional<Rules> away, PlainStrings(exclusion.parts, /*away=*/true));
    if (!away) return std::optional(Rules());
    if (!all) all = AnyText();
    RETURN_IF_ERROR(SpendCompilation(exclusion.place));
    auto rest = Subtract(*all, *away);
    if (rest.ok()) {
      all = RulesOf(*std::move(rest));
    } else if (rest.status().code() == absl::StatusCode::kInvalidArgument) {
      return std::optional(Rules());
    } else {
      RETURN_IF_ERROR(RefuseAs(exclusion.place, rest.status()));
    }
  }
  return all;
}

// All strings of `parts` as they are; nullopt: any. `away`: they are to be kept
// off, so they are all that any reading of the keywords lets through, and formats say nothing.
absl::StatusOr<std::optional<Rules>> SchemaCompiler::PlainStrings(const Parts& parts, bool away) {
  std::optional<Rules> all;
  const auto also = [&](std::string_view place, Rules rules, ExprId body) -> absl::Status {
    rules.root = rules.AddRule("root");
    rules.Define(rules.root, body);
    if (!all) {
      all = std::move(rules);
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(SpendCompilation(place));
    auto both = Intersect(*all, rules);
    if (!both.ok()) return RefuseAs(place, both.status());
    all = RulesOf(*std::move(both));
    return absl::OkStatus();
  };
  int32_t min = 0, max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minLength", "maxLength", &min, &max));
  bool counted = min == 0 && max == Rules::kUnbounded;
  ASSIGN_OR_RETURN(const std::vector<PatternAt> patterns, PatternsOf(parts));
  for (const auto& [place, pattern] : patterns) {
    if (away && place.ends_with("/format")) continue;
    Rules rules;
    const auto body = away ? AddForbiddenPattern(pattern, &rules)
                           : AddPlainPattern(pattern, /*anywhere=*/true, &rules);
    if (!body.ok()) {
      RETURN_IF_ERROR(RefuseAs(place, body.status()));
      continue;
    }
    counted = counted || LengthsWithin(pattern, min, max);
    RETURN_IF_ERROR(also(place, std::move(rules), *body));
  }
  if (HasValues(parts)) {
    ASSIGN_OR_RETURN(const std::vector<std::string> values, Values(parts, kString));
    Rules rules;
    std::vector<ExprId> choices;
    for (const std::string& text : values) {
      const auto document = base::JsonDocument::Parse(text);
      if (document.ok()) choices.push_back(rules.Text(document->root().AsString().value_or("")));
    }
    const ExprId body = rules.Choice(std::move(choices));
    RETURN_IF_ERROR(also(parts[0].pointer, std::move(rules), body));
  }
  if (counted) return all;
  RETURN_IF_ERROR(SpendCompilation(parts[0].pointer));
  auto texts = WithLength(all ? *all : AnyText(), min, max);
  if (texts.ok()) return std::optional(RulesOf(*std::move(texts)));
  RETURN_IF_ERROR(RefuseAs(parts[0].pointer, texts.status()));
  return all;
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
  if (FormatSaysNothing(text)) return std::optional<std::string>();
  const std::string_view known = PatternOfFormat(text);
  if (!known.empty()) return std::optional<std::string>(std::string(known));
  RETURN_IF_ERROR(Refuse(place, absl::StrCat("the format \"", text, "\" (known are ",
                                             std::string(KnownFormats()), ")")));
  return std::optional<std::string>();
}

}  // namespace conclave::engine::grammar
