#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/log.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/schema_compiler.h"
#include "engine/grammar/stacks.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

constexpr size_t kSchemaBytesMax = 1u << 20;
constexpr int kDepthMax = 32;  // of schemas within each other (mesh reference I6)
constexpr size_t kPartsMax = 256;
constexpr size_t kCheckedValuesMax = 256;
// What a schema may make of itself before it is refused: schemas looked at together, and automata
// of its parts.
constexpr size_t kWorkMax = 50'000;
constexpr int kCompilationsMax = 64;

struct TypeName {
  const char* name;
  unsigned bits;
};
constexpr TypeName kTypeNames[] = {{"null", kNull},       {"boolean", kBoolean},
                                   {"integer", kInteger}, {"number", kNumber | kInteger},
                                   {"string", kString},   {"array", kArray},
                                   {"object", kObject}};

// Which keywords belong to which type: what a schema without "type" must mean.
struct Keyword {
  const char* name;
  unsigned type;
};
constexpr Keyword kTypedKeywords[] = {{"properties", kObject},
                                      {"required", kObject},
                                      {"additionalProperties", kObject},
                                      {"patternProperties", kObject},
                                      {"propertyNames", kObject},
                                      {"minProperties", kObject},
                                      {"maxProperties", kObject},
                                      {"dependentRequired", kObject},
                                      {"items", kArray},
                                      {"prefixItems", kArray},
                                      {"contains", kArray},
                                      {"uniqueItems", kArray},
                                      {"minItems", kArray},
                                      {"maxItems", kArray},
                                      {"pattern", kString},
                                      {"format", kString},
                                      {"minLength", kString},
                                      {"maxLength", kString},
                                      {"multipleOf", kNumber | kInteger},
                                      {"minimum", kNumber | kInteger},
                                      {"maximum", kNumber | kInteger},
                                      {"exclusiveMinimum", kNumber | kInteger},
                                      {"exclusiveMaximum", kNumber | kInteger}};

constexpr const char* kRefused[] = {"if",
                                    "then",
                                    "else",
                                    "dependentSchemas",
                                    "dependencies",
                                    "unevaluatedProperties",
                                    "unevaluatedItems",
                                    "$dynamicRef",
                                    "$recursiveRef",
                                    "$anchor",
                                    "additionalItems"};

unsigned TypeOfValue(JsonValue value) {
  if (value.is_null()) return kNull;
  if (value.is_bool()) return kBoolean;
  if (value.is_integer()) return kInteger;
  if (value.is_number()) return kNumber;
  if (value.is_string()) return kString;
  return value.is_array() ? kArray : kObject;
}

// Those of `values` that have one of the types and are among the texts so far.
void Meet(const std::vector<JsonValue>& values, unsigned types,
          std::optional<std::vector<std::string>>* texts) {
  std::vector<std::string> met;
  for (const JsonValue& value : values) {
    if ((TypeOfValue(value) & types) == 0) continue;
    std::string text = value.ToJson();
    const bool before =
        !*texts || std::find((*texts)->begin(), (*texts)->end(), text) != (*texts)->end();
    if (before) met.push_back(std::move(text));
  }
  *texts = std::move(met);
}

}  // namespace

bool Reads(const Automaton& automaton, std::string_view text) {
  Stacks stacks(automaton);
  Items items = stacks.Start(), next;
  for (const char byte : text) {
    stacks.Step(items, static_cast<uint8_t>(byte), &next);
    std::swap(items, next);
  }
  return !items.empty() && items.front().state == Automaton::kEnd;
}

bool SaysOf(const SchemaParts& parts, unsigned types) {
  return std::any_of(parts.begin(), parts.end(), [&](const SchemaPart& part) {
    return std::any_of(std::begin(kTypedKeywords), std::end(kTypedKeywords),
                       [&](const Keyword& keyword) {
                         return (keyword.type & types) != 0 &&
                                part.schema.Get(keyword.name).present();
                       }) ||
           part.schema.Get("enum").present() || part.schema.Get("const").present();
  });
}

std::string Below(std::string_view pointer, std::string_view key) {
  return absl::StrCat(std::string(pointer), "/",
                      absl::StrReplaceAll(std::string(key), {{"~", "~0"}, {"/", "~1"}}));
}

// The pointer's steps as the paths of requests are written elsewhere: ".key" and "[0]".
absl::Status SchemaCompiler::Wrong(std::string_view pointer, std::string_view what) const {
  std::string place = options_.place;
  bool in_list = false;
  for (size_t at = 0; at < pointer.size();) {
    const size_t end = std::min(pointer.find('/', at + 1), pointer.size());
    std::string step(pointer.substr(at + 1, end - at - 1));
    absl::StrReplaceAll({{"~1", "/"}, {"~0", "~"}}, &step);
    const bool index = in_list && step.find_first_not_of("0123456789") == std::string::npos;
    absl::StrAppend(&place, index ? "[" : ".", step, index ? "]" : "");
    in_list = step == "anyOf" || step == "oneOf" || step == "allOf" || step == "prefixItems" ||
              step == "items";
    at = end;
  }
  return base::WithParam(base::InvalidArgument(absl::StrCat(place, ": ", std::string(what))),
                         place);
}

absl::Status SchemaCompiler::Refuse(std::string_view pointer, std::string_view what) const {
  if (options_.lenient) return absl::OkStatus();
  const bool said = what.ends_with("supported");
  const absl::Status wrong =
      Wrong(pointer, absl::StrCat(std::string(what), said ? "" : " is not supported"));
  return base::WithParam(base::Unimplemented(std::string(wrong.message())), base::ParamOf(wrong));
}

absl::Status SchemaCompiler::SpendWork(std::string_view pointer, size_t schemas) {
  work_ += schemas;
  if (work_ <= kWorkMax) return absl::OkStatus();
  return Wrong(pointer, "too many schemas that hold together");
}

absl::Status SchemaCompiler::SpendCompilation(std::string_view pointer) {
  if (++compilations_ <= kCompilationsMax) return absl::OkStatus();
  return Wrong(pointer, "more than 64 strings and values that several keywords shape");
}

absl::StatusOr<ExprId> SchemaCompiler::Root() {
  static const base::JsonDocument& object =
      *new base::JsonDocument(*base::JsonDocument::Parse(R"({"type":"object"})"));
  Parts parts = {{root_, ""}};
  if (options_.object) parts.push_back({object.root(), "object"});
  return Schema(parts, 0);
}

// ---- which schemas hold together

absl::StatusOr<ExprId> SchemaCompiler::Schema(const Parts& parts, int depth) {
  if (depth > kDepthMax) {
    return Wrong(parts[0].pointer, absl::StrCat("nested deeper than ", kDepthMax));
  }
  Parts all;
  bool impossible = false;
  for (const Part& part : parts) {
    RETURN_IF_ERROR(Gather(part, {}, &all, &impossible));
  }
  if (impossible) return rules_.Choice({});
  if (all.empty()) return json_.Value();
  RETURN_IF_ERROR(SpendWork(parts[0].pointer, all.size()));
  RETURN_IF_ERROR(rules_.status());
  std::string key;
  for (const Part& part : all) {
    absl::StrAppend(&key, part.Id(), part.chosen_any ? "!" : "", part.chosen_one ? "?" : "",
                    part.settled ? "." : "", "\n");
  }
  const auto [known, is_new] = known_.try_emplace(key, 0);
  if (!is_new) return known->second;
  const RuleId rule = rules_.AddRule(absl::StrCat("#", all[0].pointer));
  RETURN_IF_ERROR(rules_.status());
  const ExprId call = known->second = rules_.Call(rule);
  ASSIGN_OR_RETURN(const ExprId body, Body(all, depth));
  rules_.Define(rule, body);
  return call;
}

// The schema itself and what it takes in by $ref and allOf.
absl::Status SchemaCompiler::Gather(const Part& part, std::set<std::string> path, Parts* all,
                                    bool* impossible) {
  if (part.schema.is_bool()) {
    if (!part.schema.AsBool().value_or(true)) *impossible = true;
    return absl::OkStatus();
  }
  if (!part.schema.is_object()) return Wrong(part.pointer, "expected an object or a boolean");
  if (!path.insert(part.Id()).second) {
    return Wrong(part.pointer, "$ref leads back to itself");
  }
  // An alternative that is nothing but the whole again has no text of its own.
  if (part.through.contains(part.Id())) {
    *impossible = true;
    return absl::OkStatus();
  }
  for (const Part& other : *all) {
    if (other.Is(part) && other.chosen_any == part.chosen_any &&
        other.chosen_one == part.chosen_one && other.settled == part.settled) {
      return absl::OkStatus();
    }
  }
  for (const char* keyword : kRefused) {
    if (part.schema.Get(keyword).present()) {
      RETURN_IF_ERROR(Refuse(part.pointer, absl::StrCat("\"", keyword, "\"")));
    }
  }
  if (all->size() >= kPartsMax) return Wrong(part.pointer, "more than 256 schemas hold at once");
  all->push_back(part);
  if (part.gathered) return absl::OkStatus();
  all->back().gathered = true;
  if (const JsonValue no = part.schema.Get("not"); no.present()) {
    const std::string place = Below(part.pointer, "not");
    RETURN_IF_ERROR(Exclude({no, place}, place, "\"not\" of this schema", all, impossible));
  }
  if (const JsonValue ref = part.schema.Get("$ref"); ref.present()) {
    ASSIGN_OR_RETURN(std::optional<Part> target, Resolve(part.pointer, ref));
    if (target) target->through = part.through;
    if (target) RETURN_IF_ERROR(Gather(*target, path, all, impossible));
  }
  const JsonValue all_of = part.schema.Get("allOf");
  if (!all_of.present()) return absl::OkStatus();
  if (!all_of.is_array()) return Wrong(Below(part.pointer, "allOf"), "expected an array");
  for (size_t i = 0; i < all_of.size(); ++i) {
    Part inner{all_of.At(i), absl::StrCat(part.pointer, "/allOf/", i)};
    inner.through = part.through;
    RETURN_IF_ERROR(Gather(inner, path, all, impossible));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<SchemaPart>> SchemaCompiler::Resolve(const std::string& pointer,
                                                                  JsonValue ref) {
  const std::string place = Below(pointer, "$ref");
  if (!ref.is_string()) return Wrong(place, "expected a string");
  const std::string text = ref.AsString().value_or("");
  if (text != "#" && text.rfind("#/", 0) != 0) {
    RETURN_IF_ERROR(Refuse(place, "a reference out of this schema (only \"#\" and \"#/…\")"));
    return std::optional<Part>();
  }
  Part target{root_, ""};
  for (size_t at = 1; at < text.size();) {
    const size_t end = std::min(text.find('/', at + 1), text.size());
    std::string step = text.substr(at + 1, end - at - 1);
    absl::StrReplaceAll({{"~1", "/"}, {"~0", "~"}}, &step);
    at = end;
    if (target.schema.is_array()) {
      const bool number = !step.empty() && step.size() < 6 &&
                          step.find_first_not_of("0123456789") == std::string::npos;
      const size_t index = number ? static_cast<size_t>(std::atoi(step.c_str())) : SIZE_MAX;
      target.schema = index < target.schema.size() ? target.schema.At(index) : JsonValue();
    } else {
      target.schema = target.schema.Get(step);
    }
    target.pointer = Below(target.pointer, step);
    if (!target.schema.present()) {
      return Wrong(place, absl::StrCat("there is nothing at \"", text, "\""));
    }
  }
  return std::optional<Part>(std::move(target));
}

// ---- what they say together

absl::StatusOr<ExprId> SchemaCompiler::Body(const Parts& parts, int depth) {
  for (const Part& part : parts) {
    for (const bool any : {true, false}) {
      const char* keyword = any ? "anyOf" : "oneOf";
      if (any ? part.chosen_any : part.chosen_one) continue;
      if (part.schema.Get(keyword).present()) return Branches(parts, part, any, depth);
    }
  }
  for (const Part& part : parts) {
    if (part.besides >= 0 && !part.settled) return Without(parts, part, depth);
  }
  ASSIGN_OR_RETURN(const unsigned types, TypesOf(parts));
  for (const Part& part : parts) {
    if (!part.schema.Get("enum").present() && !part.schema.Get("const").present()) continue;
    ASSIGN_OR_RETURN(std::vector<std::string> texts, Values(parts, types));
    ASSIGN_OR_RETURN(texts, Admitted(parts, std::move(texts), depth));
    std::vector<ExprId> choices;
    for (const std::string& text : texts) choices.push_back(rules_.Text(text));
    return rules_.Choice(std::move(choices));
  }
  return Types(parts, types, depth);
}

SchemaPart SchemaCompiler::BranchOf(const Part& with, const std::string& keyword, size_t index) {
  Part branch{with.schema.Get(keyword).At(index),
              absl::StrCat(Below(with.pointer, keyword), "/", index)};
  branch.through = with.through;
  branch.through.insert(with.Id());
  return branch;
}

absl::StatusOr<ExprId> SchemaCompiler::Branches(const Parts& parts, const Part& with, bool any,
                                                int depth) {
  const char* keyword = any ? "anyOf" : "oneOf";
  const JsonValue branches = with.schema.Get(keyword);
  const std::string place = Below(with.pointer, keyword);
  if (!branches.is_array() || branches.size() == 0) return Wrong(place, "expected a list");
  std::vector<ExprId> choices;
  for (size_t i = 0; i < branches.size(); ++i) {
    Parts chosen = parts;
    for (Part& part : chosen) {
      if (part.Is(with)) (any ? part.chosen_any : part.chosen_one) = true;
    }
    chosen.push_back(BranchOf(with, keyword, i));
    if (!any) RETURN_IF_ERROR(ExcludeOthers(with, i, &chosen));
    ASSIGN_OR_RETURN(const ExprId choice, Schema(chosen, depth + 1));
    choices.push_back(choice);
  }
  return rules_.Choice(std::move(choices));
}

absl::StatusOr<unsigned> SchemaCompiler::BitsOf(const Part& part, JsonValue name) const {
  const std::string text = name.AsString().value_or("");
  for (const TypeName& known : kTypeNames) {
    if (text == known.name) return known.bits;
  }
  return Wrong(Below(part.pointer, "type"),
               "expected null, boolean, integer, number, string, array or object");
}

absl::StatusOr<unsigned> SchemaCompiler::TypesOf(const Parts& parts, bool implied) const {
  unsigned types = kAllTypes, meant = 0;
  bool typed = false;
  for (const Part& part : parts) {
    for (const Keyword& keyword : kTypedKeywords) {
      if (part.schema.Get(keyword.name).present()) meant |= keyword.type;
    }
    const JsonValue type = part.schema.Get("type");
    if (!type.present()) continue;
    typed = true;
    unsigned bits = 0;
    for (size_t i = 0; i < (type.is_array() ? type.size() : 1); ++i) {
      ASSIGN_OR_RETURN(const unsigned one, BitsOf(part, type.is_array() ? type.At(i) : type));
      bits |= one;
    }
    const JsonValue nullable = part.schema.Get("nullable");
    if (nullable.is_bool() && nullable.AsBool().value_or(false)) bits |= kNull;
    types &= bits;
  }
  return implied && !typed && meant != 0 ? meant : types;
}

// The values by name, as JSON.
absl::StatusOr<std::vector<std::string>> SchemaCompiler::Values(const Parts& parts,
                                                                unsigned types) {
  std::optional<std::vector<std::string>> texts;
  for (const Part& part : parts) {
    std::vector<JsonValue> values;
    if (const JsonValue list = part.schema.Get("enum"); list.present()) {
      if (!list.is_array() || list.size() == 0) {
        return Wrong(Below(part.pointer, "enum"), "expected a list of values");
      }
      for (size_t i = 0; i < list.size(); ++i) values.push_back(list.At(i));
      Meet(values, types, &texts);
    }
    if (const JsonValue one = part.schema.Get("const"); one.present()) {
      Meet({one}, types, &texts);
    }
  }
  return *std::move(texts);
}

// Those that the other keywords let through. Read as the text they are, so that objects whose
// members come in another order than the schema's are left out.
absl::StatusOr<std::vector<std::string>> SchemaCompiler::Admitted(const Parts& parts,
                                                                  std::vector<std::string> texts,
                                                                  int depth) {
  bool has_others = false;
  for (const Part& part : parts) {
    for (const Keyword& keyword : kTypedKeywords) {
      has_others = has_others || part.schema.Get(keyword.name).present();
    }
  }
  if (!has_others || texts.empty()) return texts;
  if (texts.size() > kCheckedValuesMax) {
    RETURN_IF_ERROR(Refuse(parts[0].pointer, "an \"enum\" of more than 256 values beside others"));
    return texts;
  }
  RETURN_IF_ERROR(SpendCompilation(parts[0].pointer));
  Rules rules;
  JsonText json(&rules);
  SchemaCompiler others(root_, options_, &json);
  rules.root = rules.AddRule("root");
  ASSIGN_OR_RETURN(const unsigned types, others.TypesOf(parts));
  ASSIGN_OR_RETURN(const ExprId body, others.Types(parts, types, depth));
  rules.Define(rules.root, body);
  const auto automaton = CompileRules(rules, kSmallWorkMax);
  if (!automaton.ok()) return Wrong(parts[0].pointer, std::string(automaton.status().message()));
  std::erase_if(texts, [&](const std::string& text) { return !Reads(*automaton, text); });
  return texts;
}

absl::StatusOr<ExprId> SchemaCompiler::Types(const Parts& parts, unsigned types, int depth) {
  std::vector<ExprId> choices;
  if (types & kNull) choices.push_back(rules_.Text("null"));
  if (types & kBoolean) {
    choices.push_back(rules_.Text("true"));
    choices.push_back(rules_.Text("false"));
  }
  if (types & (kNumber | kInteger)) {
    ASSIGN_OR_RETURN(const ExprId number, Number(parts, (types & kNumber) == 0));
    choices.push_back(number);
  }
  if (types & kString) {
    ASSIGN_OR_RETURN(const ExprId string, String(parts));
    choices.push_back(string);
  }
  if (types & kArray) {
    ASSIGN_OR_RETURN(const ExprId array, Array(parts, depth));
    choices.push_back(array);
  }
  if (types & kObject) {
    ASSIGN_OR_RETURN(const ExprId object, Object(parts, depth));
    choices.push_back(object);
  }
  return rules_.Choice(std::move(choices));
}

absl::StatusOr<std::optional<int32_t>> SchemaCompiler::Count(const Part& part,
                                                             const char* keyword) const {
  const JsonValue value = part.schema.Get(keyword);
  if (!value.present()) return std::optional<int32_t>();
  const auto count = value.AsInt(0, Rules::kCountMax);
  if (!count.ok()) {
    return Wrong(Below(part.pointer, keyword),
                 absl::StrCat("expected a number from 0 to ", Rules::kCountMax));
  }
  return std::optional<int32_t>(static_cast<int32_t>(*count));
}

// The tightest of both counts over the parts; max is Rules::kUnbounded where none says.
absl::Status SchemaCompiler::Counts(const Parts& parts, const char* min_keyword,
                                    const char* max_keyword, int32_t* min, int32_t* max) const {
  for (const Part& part : parts) {
    ASSIGN_OR_RETURN(const std::optional<int32_t> low, Count(part, min_keyword));
    ASSIGN_OR_RETURN(const std::optional<int32_t> high, Count(part, max_keyword));
    *min = std::max(*min, low.value_or(0));
    if (high) *max = *max == Rules::kUnbounded ? *high : std::min(*max, *high);
  }
  if (*max == Rules::kUnbounded || *min <= *max) return absl::OkStatus();
  return Wrong(parts[0].pointer,
               absl::StrCat("\"", min_keyword, "\" is above \"", max_keyword, "\""));
}

absl::StatusOr<ExprId> AddJsonSchema(std::string_view schema, const SchemaOptions& options,
                                     JsonText* json) {
  const auto wrong = [&](std::string what) {
    return base::WithParam(base::InvalidArgument(absl::StrCat(options.place, ": ", what)),
                           options.place);
  };
  if (schema.size() > kSchemaBytesMax) return wrong("longer than 1 MiB");
  auto document = base::JsonDocument::Parse(schema);
  if (!document.ok()) return wrong(std::string(document.status().message()));
  SchemaCompiler compiler(document->root(), options, json);
  const auto root = compiler.Root();
  if (!root.ok() && base::ParamOf(root.status()).empty()) {
    return wrong(std::string(root.status().message()));
  }
  if (json->rules().full()) return wrong(std::string(json->rules().status().message()));
  return root;
}

absl::StatusOr<Rules> ParseJsonSchema(std::string_view schema, const SchemaOptions& options) {
  Rules rules;
  rules.root = rules.AddRule("root");
  JsonText json(&rules);
  ASSIGN_OR_RETURN(const ExprId body, AddJsonSchema(schema, options, &json));
  rules.Define(rules.root, body);
  return rules;
}

}  // namespace conclave::engine::grammar
