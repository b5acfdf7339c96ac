#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/json.h"
#include "base/log.h"
#include "engine/grammar/json_formats.h"
#include "engine/grammar/json_numbers.h"
#include "engine/grammar/json_text.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

constexpr size_t kSchemaBytesMax = 1u << 20;
constexpr int kDepthMax = 32;  // of schemas within each other (mesh reference I6)
constexpr size_t kPartsMax = 256;

// A schema and where it stands. `chosen`: its anyOf or oneOf has been decided already.
struct Part {
  JsonValue schema;
  std::string pointer;
  bool chosen_any = false;
  bool chosen_one = false;
};
// Schemas that must all hold.
using Parts = std::vector<Part>;

absl::Status Wrong(std::string_view pointer, std::string_view what) {
  return base::InvalidArgument(
      absl::StrCat("schema #", std::string(pointer), ": ", std::string(what)));
}
absl::Status Unsupported(std::string_view pointer, std::string_view what) {
  return base::Unimplemented(
      absl::StrCat("schema #", std::string(pointer), ": ", std::string(what), " is not supported"));
}

std::string Below(std::string_view pointer, std::string_view key) {
  return absl::StrCat(std::string(pointer), "/",
                      absl::StrReplaceAll(std::string(key), {{"~", "~0"}, {"/", "~1"}}));
}

enum Type : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kNumber = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
  kAllTypes = 127,
};

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
                                      {"items", kArray},
                                      {"prefixItems", kArray},
                                      {"minItems", kArray},
                                      {"maxItems", kArray},
                                      {"pattern", kString},
                                      {"format", kString},
                                      {"minLength", kString},
                                      {"maxLength", kString},
                                      {"minimum", kNumber | kInteger},
                                      {"maximum", kNumber | kInteger},
                                      {"exclusiveMinimum", kNumber | kInteger},
                                      {"exclusiveMaximum", kNumber | kInteger}};

constexpr const char* kRefused[] = {"not",
                                    "if",
                                    "then",
                                    "else",
                                    "patternProperties",
                                    "propertyNames",
                                    "dependentRequired",
                                    "dependentSchemas",
                                    "dependencies",
                                    "contains",
                                    "minContains",
                                    "maxContains",
                                    "unevaluatedProperties",
                                    "unevaluatedItems",
                                    "$dynamicRef",
                                    "$recursiveRef",
                                    "$anchor",
                                    "multipleOf",
                                    "additionalItems"};

class Compiler final {
 public:
  explicit Compiler(JsonValue root) : root_(root), json_(&rules_) {}

  absl::StatusOr<Rules> Compile() {
    rules_.root = rules_.AddRule("root");
    ASSIGN_OR_RETURN(const ExprId body, Schema({{root_, ""}}, 0));
    rules_.Define(rules_.root, body);
    RETURN_IF_ERROR(rules_.status());
    return std::move(rules_);
  }

 private:
  // ---- which schemas hold together

  absl::StatusOr<ExprId> Schema(const Parts& parts, int depth) {
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
    RETURN_IF_ERROR(rules_.status());
    std::string key;
    for (const Part& part : all) {
      absl::StrAppend(&key, part.pointer, part.chosen_any ? "!" : "", part.chosen_one ? "?" : "",
                      "\n");
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
  absl::Status Gather(const Part& part, std::set<std::string> path, Parts* all, bool* impossible) {
    if (part.schema.is_bool()) {
      if (!part.schema.AsBool().value_or(true)) *impossible = true;
      return absl::OkStatus();
    }
    if (!part.schema.is_object()) return Wrong(part.pointer, "expected an object or a boolean");
    if (!path.insert(part.pointer).second) {
      return Wrong(part.pointer, "$ref leads back to itself");
    }
    for (const Part& other : *all) {
      if (other.pointer == part.pointer && other.chosen_any == part.chosen_any &&
          other.chosen_one == part.chosen_one) {
        return absl::OkStatus();
      }
    }
    for (const char* keyword : kRefused) {
      if (part.schema.Get(keyword).present()) {
        return Unsupported(part.pointer, absl::StrCat("\"", keyword, "\""));
      }
    }
    if (all->size() >= kPartsMax) return Wrong(part.pointer, "more than 256 schemas hold at once");
    all->push_back(part);
    if (const JsonValue ref = part.schema.Get("$ref"); ref.present()) {
      ASSIGN_OR_RETURN(const Part target, Resolve(part.pointer, ref));
      RETURN_IF_ERROR(Gather(target, path, all, impossible));
    }
    const JsonValue all_of = part.schema.Get("allOf");
    if (!all_of.present()) return absl::OkStatus();
    if (!all_of.is_array()) return Wrong(Below(part.pointer, "allOf"), "expected an array");
    for (size_t i = 0; i < all_of.size(); ++i) {
      const Part inner{all_of.At(i), absl::StrCat(part.pointer, "/allOf/", i)};
      RETURN_IF_ERROR(Gather(inner, path, all, impossible));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Part> Resolve(const std::string& pointer, JsonValue ref) {
    const std::string place = Below(pointer, "$ref");
    if (!ref.is_string()) return Wrong(place, "expected a string");
    const std::string text = ref.AsString().value_or("");
    if (text != "#" && text.rfind("#/", 0) != 0) {
      return Unsupported(place, "a reference out of this schema (only \"#\" and \"#/…\")");
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
    return target;
  }

  // ---- what they say together

  absl::StatusOr<ExprId> Body(const Parts& parts, int depth) {
    for (const Part& part : parts) {
      for (const bool any : {true, false}) {
        const char* keyword = any ? "anyOf" : "oneOf";
        if (any ? part.chosen_any : part.chosen_one) continue;
        if (part.schema.Get(keyword).present()) return Branches(parts, part, any, depth);
      }
    }
    ASSIGN_OR_RETURN(const unsigned types, TypesOf(parts));
    for (const Part& part : parts) {
      if (part.schema.Get("enum").present() || part.schema.Get("const").present()) {
        return Values(parts, types);
      }
    }
    return Types(parts, types, depth);
  }

  absl::StatusOr<ExprId> Branches(const Parts& parts, const Part& with, bool any, int depth) {
    const char* keyword = any ? "anyOf" : "oneOf";
    const JsonValue branches = with.schema.Get(keyword);
    const std::string place = Below(with.pointer, keyword);
    if (!branches.is_array() || branches.size() == 0) return Wrong(place, "expected a list");
    std::vector<ExprId> choices;
    for (size_t i = 0; i < branches.size(); ++i) {
      Parts chosen = parts;
      for (Part& part : chosen) {
        if (part.pointer == with.pointer) (any ? part.chosen_any : part.chosen_one) = true;
      }
      chosen.push_back({branches.At(i), absl::StrCat(place, "/", i)});
      ASSIGN_OR_RETURN(const ExprId choice, Schema(chosen, depth + 1));
      choices.push_back(choice);
    }
    return rules_.Choice(std::move(choices));
  }

  static absl::StatusOr<unsigned> BitsOf(const Part& part, JsonValue name) {
    const std::string text = name.AsString().value_or("");
    for (const TypeName& known : kTypeNames) {
      if (text == known.name) return known.bits;
    }
    return Wrong(Below(part.pointer, "type"),
                 "expected null, boolean, integer, number, string, array or object");
  }

  static absl::StatusOr<unsigned> TypesOf(const Parts& parts) {
    unsigned types = kAllTypes, implied = 0;
    bool typed = false;
    for (const Part& part : parts) {
      for (const Keyword& keyword : kTypedKeywords) {
        if (part.schema.Get(keyword.name).present()) implied |= keyword.type;
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
    return !typed && implied != 0 ? implied : types;
  }

  static unsigned TypeOfValue(JsonValue value) {
    if (value.is_null()) return kNull;
    if (value.is_bool()) return kBoolean;
    if (value.is_integer()) return kInteger;
    if (value.is_number()) return kNumber;
    if (value.is_string()) return kString;
    return value.is_array() ? kArray : kObject;
  }

  // Values by name. Beside them only "type" is understood: the rest would have to be checked here.
  absl::StatusOr<ExprId> Values(const Parts& parts, unsigned types) {
    std::optional<std::vector<std::string>> texts;
    for (const Part& part : parts) {
      for (const Keyword& keyword : kTypedKeywords) {
        if (part.schema.Get(keyword.name).present()) {
          return Unsupported(part.pointer,
                             absl::StrCat("\"", keyword.name, "\" beside \"enum\" or \"const\""));
        }
      }
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
    std::vector<ExprId> choices;
    for (const std::string& text : *texts) choices.push_back(rules_.Text(text));
    return rules_.Choice(std::move(choices));
  }

  static void Meet(const std::vector<JsonValue>& values, unsigned types,
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

  absl::StatusOr<ExprId> Types(const Parts& parts, unsigned types, int depth) {
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

  // ---- type by type

  static absl::StatusOr<std::optional<int32_t>> Count(const Part& part, const char* keyword) {
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
  static absl::Status Counts(const Parts& parts, const char* min_keyword, const char* max_keyword,
                             int32_t* min, int32_t* max) {
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

  absl::StatusOr<ExprId> Number(const Parts& parts, bool integer) {
    NumberBounds bounds{.integer = integer};
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
    const auto number = AddNumber(bounds, &rules_);
    if (number.ok()) return number;
    return Wrong(parts[0].pointer, std::string(number.status().message()));
  }

  static void Tighten(double value, bool exclusive, bool low, NumberBounds* bounds) {
    std::optional<double>& bound = low ? bounds->min : bounds->max;
    bool& out = low ? bounds->above_min : bounds->below_max;
    if (bound && *bound == value) {
      out = out || exclusive;
    } else if (!bound || (low ? value > *bound : value < *bound)) {
      bound = value;
      out = exclusive;
    }
  }

  absl::StatusOr<ExprId> String(const Parts& parts) {
    int32_t min = 0, max = Rules::kUnbounded;
    RETURN_IF_ERROR(Counts(parts, "minLength", "maxLength", &min, &max));
    const bool any_length = min == 0 && max == Rules::kUnbounded;
    std::optional<ExprId> shaped;
    for (const Part& part : parts) {
      for (const char* keyword : {"pattern", "format"}) {
        const JsonValue value = part.schema.Get(keyword);
        if (!value.present()) continue;
        const std::string place = Below(part.pointer, keyword);
        if (!value.is_string()) return Wrong(place, "expected a string");
        if (!any_length) return Unsupported(place, "beside \"minLength\" or \"maxLength\" it");
        if (shaped) return Unsupported(place, "beside another \"pattern\" or \"format\" it");
        std::string pattern = value.AsString().value_or("");
        if (keyword[0] == 'f') {
          const std::string_view known = PatternOfFormat(pattern);
          if (known.empty()) {
            return Unsupported(place, absl::StrCat("\"", pattern, "\" (known are ",
                                                   std::string(KnownFormats()), ") it"));
          }
          pattern = std::string(known);
        }
        const auto text = AddPattern(pattern, /*anywhere=*/true, json_, &rules_);
        if (!text.ok()) return base::Annotate(text.status(), absl::StrCat("schema #", place));
        shaped = rules_.Sequence({rules_.Text("\""), *text, rules_.Text("\"")});
      }
    }
    return shaped ? *shaped : json_.String(min, max);
  }

  absl::StatusOr<ExprId> Array(const Parts& parts, int depth) {
    int32_t min = 0, max = Rules::kUnbounded;
    RETURN_IF_ERROR(Counts(parts, "minItems", "maxItems", &min, &max));
    std::vector<Parts> heads;
    Parts rest;
    bool closed = false, says_rest = false;
    for (const Part& part : parts) {
      const JsonValue unique = part.schema.Get("uniqueItems");
      if (unique.is_bool() && unique.AsBool().value_or(false)) {
        return Unsupported(part.pointer, "\"uniqueItems\"");
      }
      const JsonValue items = part.schema.Get("items");
      const bool old_tuple = items.is_array();
      const char* keyword = old_tuple ? "items" : "prefixItems";
      const JsonValue prefix = part.schema.Get(keyword);
      if (prefix.present()) {
        if (!prefix.is_array()) return Wrong(Below(part.pointer, keyword), "expected a list");
        if (!heads.empty()) return Unsupported(part.pointer, "more than one list of items");
        for (size_t i = 0; i < prefix.size(); ++i) {
          heads.push_back({{prefix.At(i), absl::StrCat(part.pointer, "/", keyword, "/", i)}});
        }
        if (old_tuple || !items.present()) closed = true;
      }
      if (!items.present() || old_tuple) continue;
      says_rest = true;
      rest.push_back({items, Below(part.pointer, "items")});
    }
    if (!heads.empty() && parts.size() > 1 && says_rest) {
      return Unsupported(parts[0].pointer, "\"prefixItems\" together with other schemas");
    }
    closed = closed && !says_rest && min <= static_cast<int32_t>(heads.size());
    if (max != Rules::kUnbounded && static_cast<size_t>(max) < heads.size()) {
      heads.resize(static_cast<size_t>(max));
    }
    std::vector<ExprId> items;
    for (const Parts& head : heads) {
      ASSIGN_OR_RETURN(const ExprId item, Schema(head, depth + 1));
      items.push_back(item);
    }
    std::optional<ExprId> more;
    const auto count = static_cast<int32_t>(heads.size());
    if (!closed && (max == Rules::kUnbounded || max > count)) {
      ASSIGN_OR_RETURN(more, rest.empty() ? json_.Value() : Schema(rest, depth + 1));
    }
    return json_.Braces('[', Items(items, more, min, max), ']');
  }

  // `heads` in order, then `more`; between min and max of all.
  ExprId Items(const std::vector<ExprId>& heads, std::optional<ExprId> more, int32_t min,
               int32_t max) {
    const auto count = static_cast<int32_t>(heads.size());
    const auto left = [&](int32_t of, int32_t done) { return std::max(of - done, 0); };
    ExprId tail = rules_.Text("");
    if (more) {
      const int32_t first = std::max(count, 1);  // after the heads, or after one of its own
      tail = rules_.Repeat(rules_.Sequence({json_.Comma(), *more}), left(min, first),
                           max == Rules::kUnbounded ? max : left(max, first));
      if (count == 0) {
        tail = rules_.Sequence({*more, tail});
        return min == 0 ? rules_.Optional(tail) : tail;
      }
    }
    for (int32_t i = count - 1; i >= 0; --i) {
      const ExprId item = heads[static_cast<size_t>(i)];
      tail = i == 0 ? rules_.Sequence({item, tail}) : rules_.Sequence({json_.Comma(), item, tail});
      if (i >= min) tail = rules_.Optional(tail);
    }
    return tail;
  }

  absl::StatusOr<ExprId> Object(const Parts& parts, int depth) {
    std::vector<std::string> names;
    std::set<std::string> named, required;
    bool has_properties = false, says_extra = false, closed = false;
    Parts extra;
    for (const Part& part : parts) {
      RETURN_IF_ERROR(ReadNames(part, &names, &named, &required));
      has_properties = has_properties || part.schema.Get("properties").present();
      const JsonValue others = part.schema.Get("additionalProperties");
      if (!others.present()) continue;
      if (others.is_bool() && !others.AsBool().value_or(true)) {
        closed = true;
      } else {
        says_extra = true;
        extra.push_back({others, Below(part.pointer, "additionalProperties")});
      }
    }
    RETURN_IF_ERROR(CheckSize(parts, names, required));
    std::vector<Rules::ListItem> members;
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(const ExprId value, Property(parts, name, depth));
      members.push_back(
          {json_.Member(rules_.Text(base::JsonQuote(name)), value), !required.contains(name)});
    }
    if (!closed && (says_extra || !has_properties)) {
      if (names.empty() && extra.empty()) return json_.Object();
      ASSIGN_OR_RETURN(const ExprId value,
                       extra.empty() ? json_.Value() : Schema(extra, depth + 1));
      const RuleId rule = rules_.AddRule("member");
      rules_.Define(rule, json_.Member(json_.KeyBesides(names), value));
      const ExprId member = rules_.Call(rule);
      const ExprId more =
          rules_.Repeat(rules_.Sequence({json_.Comma(), member}), 0, Rules::kUnbounded);
      members.push_back({rules_.Sequence({member, more}), true});
    }
    return json_.Braces('{', rules_.List(json_.Comma(), members), '}');
  }

  static absl::Status ReadNames(const Part& part, std::vector<std::string>* names,
                                std::set<std::string>* named, std::set<std::string>* required) {
    const JsonValue properties = part.schema.Get("properties");
    if (properties.present() && !properties.is_object()) {
      return Wrong(Below(part.pointer, "properties"), "expected an object");
    }
    properties.ForEachMember([&](std::string_view name, JsonValue) {
      if (named->insert(std::string(name)).second) names->emplace_back(name);
    });
    const JsonValue list = part.schema.Get("required");
    if (!list.present()) return absl::OkStatus();
    if (!list.is_array()) return Wrong(Below(part.pointer, "required"), "expected a list");
    for (size_t i = 0; i < list.size(); ++i) {
      const auto name = list.At(i).AsString();
      if (!name.ok()) return Wrong(Below(part.pointer, "required"), "expected names");
      required->insert(*name);
      if (named->insert(*name).second) names->push_back(*name);
    }
    return absl::OkStatus();
  }

  static absl::Status CheckSize(const Parts& parts, const std::vector<std::string>& names,
                                const std::set<std::string>& required) {
    for (const Part& part : parts) {
      ASSIGN_OR_RETURN(const std::optional<int32_t> min, Count(part, "minProperties"));
      if (static_cast<size_t>(min.value_or(0)) > required.size()) {
        return Unsupported(part.pointer, "\"minProperties\" above the number of required ones");
      }
      ASSIGN_OR_RETURN(const std::optional<int32_t> max, Count(part, "maxProperties"));
      const JsonValue others = part.schema.Get("additionalProperties");
      const bool fixed = others.is_bool() && !others.AsBool().value_or(true);
      if (max && (!fixed || static_cast<size_t>(*max) < names.size())) {
        return Unsupported(part.pointer, "\"maxProperties\"");
      }
    }
    return absl::OkStatus();
  }

  // What each part has to say of a property: by name, or as one of the others.
  absl::StatusOr<ExprId> Property(const Parts& parts, const std::string& name, int depth) {
    Parts about;
    for (const Part& part : parts) {
      const JsonValue named = part.schema.Get("properties").Get(name);
      const JsonValue others = part.schema.Get("additionalProperties");
      if (named.present()) {
        about.push_back({named, Below(Below(part.pointer, "properties"), name)});
      } else if (others.present()) {
        about.push_back({others, Below(part.pointer, "additionalProperties")});
      }
    }
    return about.empty() ? json_.Value() : Schema(about, depth + 1);
  }

  const JsonValue root_;
  Rules rules_;
  JsonText json_;
  std::map<std::string, ExprId> known_;
};

}  // namespace

absl::StatusOr<Rules> ParseJsonSchema(std::string_view schema) {
  if (schema.size() > kSchemaBytesMax) return base::InvalidArgument("schema: longer than 1 MiB");
  auto document = base::JsonDocument::Parse(schema);
  if (!document.ok()) return base::Annotate(document.status(), "schema");
  return Compiler(document->root()).Compile();
}

}  // namespace conclave::engine::grammar
