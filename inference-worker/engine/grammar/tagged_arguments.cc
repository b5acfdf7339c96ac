#include "engine/grammar/tagged_arguments.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/chat/parsers/xml_calls.h"
#include "engine/grammar/schema_compiler.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

// All that a value in tags may hold where it is counted: no tag can begin in it, and no NUL.
std::vector<CodeRange> WithoutTags() { return Complement({{0, 0}, {'<', '<'}}); }

ExprId EndOfValue(const CallSyntax& syntax, Rules* rules) {
  return rules->Text(absl::StrCat(syntax.value_on_lines ? "\n" : "", std::string(syntax.value_end),
                                  std::string(syntax.after_value)));
}

// Any text that is not ended before its end.
ExprId FreeValue(const CallSyntax& syntax, Rules* rules) {
  return rules->Sequence({rules->Until(syntax.value_end), rules->Text(syntax.after_value)});
}

}  // namespace

ExprId AnyTaggedArguments(const CallSyntax& syntax, Rules* rules) {
  const ExprId key = rules->Repeat(
      rules->Set(Complement({{0, 0x20}, {'<', '<'}, {'>', '>'}, {'"', '"'}, {'\\', '\\'}})), 1, 64);
  return rules->Repeat(rules->Sequence({rules->Text(syntax.key_begin), key,
                                        rules->Text(syntax.key_end), FreeValue(syntax, rules)}),
                       0, Rules::kUnbounded);
}

absl::StatusOr<ExprId> AddTaggedArguments(std::string_view schema, const SchemaOptions& options,
                                          const CallSyntax& syntax, JsonText* json) {
  if (schema.empty()) return json->rules().Text("");
  auto document = base::JsonDocument::Parse(schema);
  if (!document.ok()) {
    return base::WithParam(base::InvalidArgument(absl::StrCat(
                               options.place, ": ", std::string(document.status().message()))),
                           options.place);
  }
  return SchemaCompiler(document->root(), options, json).TaggedArguments(syntax);
}

absl::StatusOr<ExprId> SchemaCompiler::TaggedArguments(const CallSyntax& syntax) {
  Parts all;
  bool impossible = false;
  RETURN_IF_ERROR(Gather({root_, ""}, {}, &all, &impossible));
  for (const Part& part : all) {
    for (const char* keyword : {"anyOf", "oneOf", "not", "patternProperties", "propertyNames",
                                "enum", "const", "minProperties", "dependentRequired"}) {
      if (!part.schema.Get(keyword).present()) continue;
      RETURN_IF_ERROR(Refuse(Below(part.pointer, keyword),
                             absl::StrCat("\"", keyword, "\" with this model's way of calling")));
      return AnyTaggedArguments(syntax, &rules_);
    }
  }
  if (impossible) return rules_.Choice({});
  Members members;
  if (!all.empty()) {
    ASSIGN_OR_RETURN(members, ReadMembers(all));
  }
  const bool free = members.names.empty() && !members.closed && !members.has_properties;
  if (free) return AnyTaggedArguments(syntax, &rules_);
  std::vector<ExprId> arguments;
  for (const std::string& name : members.names) {
    // Of several schemas that speak of one argument the first counts.
    JsonValue property;
    std::string pointer;
    for (const Part& part : all) {
      if (property.present()) break;
      property = part.schema.Get("properties").Get(name);
      pointer = Below(Below(part.pointer, "properties"), name);
    }
    ASSIGN_OR_RETURN(const ExprId value, TaggedValue(property, pointer, syntax));
    const ExprId argument =
        rules_.Sequence({rules_.Text(absl::StrCat(std::string(syntax.key_begin), name,
                                                  std::string(syntax.key_end))),
                         value});
    arguments.push_back(members.required.contains(name) ? argument : rules_.Optional(argument));
  }
  return rules_.Sequence(std::move(arguments));
}

// The value and its end.
absl::StatusOr<ExprId> SchemaCompiler::TaggedValue(JsonValue schema, const std::string& pointer,
                                                   const CallSyntax& syntax) {
  const bool says_nothing = !schema.is_object() || schema.size() == 0;
  if (says_nothing) return FreeValue(syntax, &rules_);
  if (!IsWrittenBare(schema)) {
    ASSIGN_OR_RETURN(const ExprId value, Schema({{schema, pointer}}, 1));
    return rules_.Sequence({value, EndOfValue(syntax, &rules_)});
  }
  ASSIGN_OR_RETURN(const std::optional<ExprId> shaped, BareString(schema, pointer));
  if (!shaped) return FreeValue(syntax, &rules_);
  return rules_.Sequence({*shaped, EndOfValue(syntax, &rules_)});
}

// nullopt: any string.
absl::StatusOr<std::optional<ExprId>> SchemaCompiler::BareString(JsonValue schema,
                                                                 const std::string& pointer) {
  const Parts parts = {{schema, pointer}};
  for (const char* keyword : {"anyOf", "oneOf", "allOf", "not", "$ref"}) {
    if (!schema.Get(keyword).present()) continue;
    RETURN_IF_ERROR(Refuse(Below(pointer, keyword),
                           absl::StrCat("\"", keyword, "\" with this model's way of calling")));
  }
  if (schema.Get("enum").present() || schema.Get("const").present()) {
    ASSIGN_OR_RETURN(std::vector<std::string> texts, Values(parts, kString));
    ASSIGN_OR_RETURN(texts, Admitted(parts, std::move(texts), 1));
    std::vector<ExprId> choices;
    for (const std::string& text : texts) {
      const auto document = base::JsonDocument::Parse(text);
      if (document.ok()) choices.push_back(rules_.Text(document->root().AsString().value_or("")));
    }
    return std::optional<ExprId>(rules_.Choice(std::move(choices)));
  }
  int32_t min = 0, max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minLength", "maxLength", &min, &max));
  const bool any_length = min == 0 && max == Rules::kUnbounded;
  std::optional<ExprId> shaped;
  for (const char* keyword : {"pattern", "format"}) {
    const std::string place = Below(pointer, keyword);
    ASSIGN_OR_RETURN(const std::optional<std::string> pattern, PatternOf(parts[0], keyword));
    if (!pattern) continue;
    if (shaped || !any_length) {
      RETURN_IF_ERROR(Refuse(place, absl::StrCat("\"", keyword, "\" beside others with this ",
                                                 "model's way of calling")));
      continue;
    }
    const auto text = AddPlainPattern(*pattern, /*anywhere=*/true, &rules_);
    if (text.ok()) {
      shaped = *text;
    } else {
      RETURN_IF_ERROR(RefuseAs(place, text.status()));
    }
  }
  if (shaped || any_length) return shaped;
  return std::optional<ExprId>(rules_.Repeat(rules_.Set(WithoutTags()), min, max));
}

}  // namespace conclave::engine::grammar
