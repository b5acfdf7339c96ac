// Whether a value surely breaks a schema. Unsure is no: what is asked is which values may come
// although the schema must not hold.
#include <algorithm>
#include <string>

#include "engine/grammar/json_numbers.h"
#include "engine/grammar/matcher.h"
#include "engine/grammar/schema_compiler.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

constexpr int kViolatesDepthMax = 8;
constexpr size_t kComparedPerSchema = 32;  // values that take as long as looking at a schema

// As JSON Schema has it: 1 and 1.0 are the same, and members have no order.
bool Same(JsonValue a, JsonValue b) {
  if (a.is_number() || b.is_number()) {
    return a.is_number() && b.is_number() && a.AsNumber().value_or(0) == b.AsNumber().value_or(0);
  }
  if (a.is_array() || b.is_array()) {
    if (!a.is_array() || !b.is_array() || a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i) {
      if (!Same(a.At(i), b.At(i))) return false;
    }
    return true;
  }
  if (a.is_object() || b.is_object()) {
    if (!a.is_object() || !b.is_object() || a.size() != b.size()) return false;
    bool same = true;
    a.ForEachMember([&](std::string_view key, JsonValue value) {
      same = same && b.Get(key).present() && Same(value, b.Get(key));
    });
    return same;
  }
  if (a.is_string() && b.is_string())
    return a.AsStringView().value_or("") == b.AsStringView().value_or("");
  return a.ToJson() == b.ToJson();
}

unsigned TypesOfValue(JsonValue value) {
  if (value.is_null()) return kNull;
  if (value.is_bool()) return kBoolean;
  if (value.is_string()) return kString;
  if (value.is_array()) return kArray;
  if (value.is_object()) return kObject;
  const double number = value.AsNumber().value_or(0);
  return number == static_cast<double>(static_cast<int64_t>(number)) ? kInteger : kNumber;
}

bool IsOneOf(JsonValue value, JsonValue list) {
  for (size_t i = 0; i < list.size(); ++i) {
    if (Same(value, list.At(i))) return true;
  }
  return false;
}

int32_t ScalarsOf(std::string_view text) {
  int32_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) at += DecodeUtf8(text, at).length;
  return count;
}

bool Outside(int64_t count, int32_t min, int32_t max) {
  return count < min || (max != Rules::kUnbounded && count > max);
}

}  // namespace

absl::StatusOr<bool> SchemaCompiler::Violates(JsonValue value, const Parts& parts, int depth) {
  if (depth > kViolatesDepthMax || parts.empty()) return false;
  std::vector<Parts> sets;
  RETURN_IF_ERROR(Conjunctions(parts, 0, &sets));
  for (const Parts& set : sets) {
    if (set.empty()) return false;
    ASSIGN_OR_RETURN(const bool violates, ViolatesAll(value, set, depth));
    if (!violates) return false;
  }
  return true;
}

// Of schemas without anyOf and oneOf.
absl::StatusOr<bool> SchemaCompiler::ViolatesAll(JsonValue value, const Parts& parts, int depth) {
  ASSIGN_OR_RETURN(const unsigned types, TypesOf(parts, /*implied=*/false));
  if ((TypesOfValue(value) & types) == 0) return true;
  for (const Part& part : parts) {
    const JsonValue list = part.schema.Get("enum"), one = part.schema.Get("const");
    RETURN_IF_ERROR(SpendWork(part.pointer, list.size() / kComparedPerSchema));
    if (list.is_array() && !IsOneOf(value, list)) return true;
    if (one.present() && !Same(value, one)) return true;
  }
  int32_t min = 0, max = Rules::kUnbounded;
  if (value.is_number()) {
    ASSIGN_OR_RETURN(const NumberBounds bounds, BoundsOf(parts));
    const double number = value.AsNumber().value_or(0);
    const bool low =
        bounds.min && (number < *bounds.min || (bounds.above_min && number == *bounds.min));
    const bool high =
        bounds.max && (number > *bounds.max || (bounds.below_max && number == *bounds.max));
    return low || high;
  }
  if (value.is_string()) {
    const std::string text = value.AsString().value_or("");
    RETURN_IF_ERROR(Counts(parts, "minLength", "maxLength", &min, &max));
    if (Outside(ScalarsOf(text), min, max)) return true;
    const bool shaped = std::any_of(parts.begin(), parts.end(), [](const Part& part) {
      return part.schema.Get("pattern").present();
    });
    if (!shaped) return false;
    RETURN_IF_ERROR(SpendCompilation(parts[0].pointer));
    ASSIGN_OR_RETURN(const std::optional<Rules> texts, PlainStrings(parts, /*away=*/true));
    if (!texts) return false;
    const auto automaton = CompileRules(*texts, kSmallWorkMax);
    return automaton.ok() && !Reads(*automaton, text);
  }
  if (value.is_array()) {
    RETURN_IF_ERROR(Counts(parts, "minItems", "maxItems", &min, &max));
    if (Outside(static_cast<int64_t>(value.size()), min, max)) return true;
    for (size_t i = 0; i < value.size(); ++i) {
      ASSIGN_OR_RETURN(const bool violates,
                       Violates(value.At(i), AboutItem(parts, static_cast<int32_t>(i)), depth + 1));
      if (violates) return true;
    }
    return false;
  }
  return value.is_object() ? ViolatesMembers(value, parts, depth) : absl::StatusOr<bool>(false);
}

absl::StatusOr<bool> SchemaCompiler::ViolatesMembers(JsonValue value, const Parts& parts,
                                                     int depth) {
  ASSIGN_OR_RETURN(const Members members, ReadMembers(parts));
  for (const std::string& name : members.required) {
    if (!value.Get(name).present()) return true;
  }
  std::vector<std::string> names;
  value.ForEachMember([&](std::string_view name, JsonValue) { names.emplace_back(name); });
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const bool violates, Violates(value.Get(name), About(parts, name), depth + 1));
    if (violates) return true;
  }
  return false;
}

}  // namespace conclave::engine::grammar
