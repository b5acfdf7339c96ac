// What must not hold: "not", and of "oneOf" the members that were not chosen. An automaton knows no
// "not" of what nests, so a reason is looked for by which no text of the one schema can be of the
// other: a type, a value, a bound, a member that is there or is not. Where there is none a narrower
// schema that has one is taken, and what is left is refused.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "engine/grammar/json_formats.h"
#include "engine/grammar/json_numbers.h"
#include "engine/grammar/schema_compiler.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

// Of schemas that are told apart by what their members' schemas say, and so on.
constexpr int kApartDepthMax = 4;
constexpr int kConjunctionDepthMax = 8;
constexpr size_t kConjunctionsMax = 64;
constexpr size_t kWaysMax = 8;
constexpr unsigned kNumeric = kNumber | kInteger;

constexpr struct {
  unsigned bits;
  const char* name;
} kClasses[] = {{kNull, "null"},     {kBoolean, "boolean"}, {kNumeric, "number"},
                {kString, "string"}, {kArray, "array"},     {kObject, "object"}};

// A schema of the types, of those an automaton writes: numbers stay integers where they were.
std::string TypedJson(unsigned types, std::string_view more = "") {
  std::vector<std::string> names;
  for (const auto& [bits, name] : kClasses) {
    if ((types & bits) == 0) continue;
    const bool whole = bits == kNumeric && (types & kNumber) == 0;
    names.push_back(absl::StrCat("\"", whole ? "integer" : name, "\""));
  }
  return absl::StrCat("{\"type\":[", absl::StrJoin(names, ","), "]", std::string(more), "}");
}

bool HasChoices(const SchemaParts& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const SchemaPart& part) {
    return (part.schema.Get("anyOf").present() && !part.chosen_any) ||
           (part.schema.Get("oneOf").present() && !part.chosen_one);
  });
}

bool IsFinite(const SchemaParts& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const SchemaPart& part) {
    return part.schema.Get("enum").present() || part.schema.Get("const").present();
  });
}

std::string KeyOf(const SchemaParts& parts) {
  std::string key;
  for (const SchemaPart& part : parts) {
    absl::StrAppend(&key, part.Id(), part.chosen_any ? "!" : "", part.chosen_one ? "?" : "", " ");
  }
  return key;
}

}  // namespace

SchemaPart SchemaCompiler::Made(std::string json, std::string_view pointer) {
  std::unique_ptr<base::JsonDocument>& document = made_[json];
  if (document == nullptr) {
    document = std::make_unique<base::JsonDocument>(*base::JsonDocument::Parse(json));
  }
  return {.schema = document->root(),
          .pointer = std::string(pointer),
          .made = std::move(json),
          .gathered = true};
}

// ---- what is excluded

// Schemas without anyOf and oneOf, each a list of parts that hold together, of which one holds if
// `parts` do.
absl::Status SchemaCompiler::Conjunctions(const Parts& parts, int depth, std::vector<Parts>* sets) {
  const std::string& place = parts[0].pointer;
  if (depth > kConjunctionDepthMax || sets->size() >= kConjunctionsMax) {
    return Refuse(place, "so many alternatives within \"oneOf\" or \"not\"");
  }
  Parts all;
  bool impossible = false;
  for (const Part& part : parts) RETURN_IF_ERROR(Gather(part, {}, &all, &impossible));
  if (impossible) return absl::OkStatus();
  RETURN_IF_ERROR(SpendWork(place, all.size()));
  for (const Part& part : all) {
    for (const bool any : {true, false}) {
      const char* keyword = any ? "anyOf" : "oneOf";
      const JsonValue branches = part.schema.Get(keyword);
      if (!branches.is_array() || (any ? part.chosen_any : part.chosen_one)) continue;
      for (size_t i = 0; i < branches.size(); ++i) {
        Parts chosen = all;
        for (Part& one : chosen) {
          if (one.Is(part)) (any ? one.chosen_any : one.chosen_one) = true;
        }
        chosen.push_back(BranchOf(part, keyword, i));
        RETURN_IF_ERROR(Conjunctions(chosen, depth + 1, sets));
      }
      return absl::OkStatus();
    }
  }
  sets->push_back(std::move(all));
  return absl::OkStatus();
}

absl::Status SchemaCompiler::Exclude(const Part& part, const std::string& place,
                                     const std::string& what, Parts* all, bool* impossible) {
  std::vector<Parts> sets;
  RETURN_IF_ERROR(Conjunctions({part}, 0, &sets));
  for (Parts& set : sets) RETURN_IF_ERROR(ExcludeSet(std::move(set), place, what, all, impossible));
  return absl::OkStatus();
}

absl::Status SchemaCompiler::ExcludeSet(Parts set, const std::string& place,
                                        const std::string& what, Parts* all, bool* impossible) {
  const bool twice =
      std::any_of(set.begin(), set.end(), [](const Part& part) { return part.besides >= 0; });
  // Without its own "not" more would be excluded than the schema says.
  if (twice) return Refuse(place, "\"not\" within \"not\" or \"oneOf\"");
  if (set.empty()) {
    *impossible = true;
    return absl::OkStatus();
  }
  const std::string key = absl::StrCat("not ", KeyOf(set));
  const auto [known, is_new] =
      exclusion_ids_.try_emplace(key, static_cast<int32_t>(exclusions_.size()));
  if (is_new) exclusions_.push_back({std::move(set), place, what});
  Part part = Made("{}", place);
  part.made = key;
  part.besides = known->second;
  all->push_back(std::move(part));
  return absl::OkStatus();
}

absl::Status SchemaCompiler::ReadTags(OneOfMember* member) const {
  if (member->conjunctions[0].empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const unsigned types, TypesOf(member->conjunctions[0], /*implied=*/false));
  for (const Part& part : member->conjunctions[0]) {
    const JsonValue own = part.schema.Get("const");
    if (own.is_string()) member->constants[""] = own.AsString().value_or("");
    part.schema.Get("properties").ForEachMember([&](std::string_view name, JsonValue property) {
      const JsonValue constant = property.Get("const");
      if (!name.empty() && constant.is_string()) {
        member->constants[std::string(name)] = constant.AsString().value_or("");
      }
    });
    const JsonValue required = part.schema.Get("required");
    // What is no object has no members.
    for (size_t i = 0; types == kObject && i < required.size(); ++i) {
      member->required.insert(required.At(i).AsString().value_or(""));
    }
  }
  return absl::OkStatus();
}

// What most of them are told apart by, at a glance: other constants, or another one in a member
// that is always there.
bool SchemaCompiler::TagsApart(const OneOfMember& chosen, const OneOfMember& other) {
  return std::any_of(chosen.constants.begin(), chosen.constants.end(), [&](const auto& tag) {
    const auto found = other.constants.find(tag.first);
    return found != other.constants.end() && found->second != tag.second &&
           (tag.first.empty() || chosen.required.contains(tag.first));
  });
}

// Of "oneOf" the members besides the chosen one, where they are not out of question anyway.
absl::Status SchemaCompiler::ExcludeOthers(const Part& with, size_t chosen, Parts* parts) {
  const JsonValue members = with.schema.Get("oneOf");
  const std::string place = Below(with.pointer, "oneOf");
  Parts all;
  bool impossible = false;
  for (const Part& part : *parts) RETURN_IF_ERROR(Gather(part, {}, &all, &impossible));
  if (impossible) return absl::OkStatus();
  std::vector<OneOfMember>& known = one_ofs_[place];
  for (size_t i = known.size(); i < members.size(); ++i) {
    OneOfMember member;
    RETURN_IF_ERROR(
        Conjunctions({{members.At(i), absl::StrCat(place, "/", i)}}, 0, &member.conjunctions));
    if (member.conjunctions.size() == 1) RETURN_IF_ERROR(ReadTags(&member));
    known.push_back(std::move(member));
  }
  for (size_t i = 0; i < members.size(); ++i) {
    if (i == chosen || TagsApart(known[chosen], known[i])) continue;
    for (const Parts& set : known[i].conjunctions) {
      // Alternatives that are still open could bring members.
      if (!all.empty() && !set.empty() && !HasChoices(all)) {
        RETURN_IF_ERROR(SpendWork(place, 1));
        ASSIGN_OR_RETURN(const Ways ways, KeepOff(all, set, 0));
        if (ways && ways->size() == 1 && ways->front().empty()) continue;
      }
      const std::string what = absl::StrCat("\"oneOf\" whose members ", std::min(i, chosen),
                                            " and ", std::max(i, chosen), " cannot be told apart");
      bool nothing = false;
      RETURN_IF_ERROR(ExcludeSet(set, place, what, parts, &nothing));
      // Next to a member that everything satisfies no other may be chosen.
      if (nothing) {
        Part none = Made("{}", "");
        none.schema = Made("false", "").schema;
        parts->push_back(std::move(none));
      }
    }
  }
  return absl::OkStatus();
}

// ---- how it is kept off

absl::StatusOr<ExprId> SchemaCompiler::Without(const Parts& parts, const Part& excluded,
                                               int depth) {
  Parts rest;
  for (const Part& part : parts) {
    if (part.besides != excluded.besides || part.settled) rest.push_back(part);
  }
  const Exclusion exclusion = exclusions_[static_cast<size_t>(excluded.besides)];
  if (rest.empty()) rest.push_back(Made("{}", exclusion.place));
  ASSIGN_OR_RETURN(Ways ways, KeepOff(rest, exclusion.parts, 0));
  if (!ways) {
    RETURN_IF_ERROR(Refuse(exclusion.place, exclusion.what));
    ways = {Parts{}};
  }
  std::vector<ExprId> choices;
  for (const Parts& way : *ways) {
    Parts narrowed = rest;
    for (Part part : way) {
      if (part.settled) {
        part.pointer = excluded.pointer;
        part.made = excluded.made;
        part.besides = excluded.besides;
      }
      narrowed.push_back(std::move(part));
    }
    // No deeper: it is the same value, and what there is to keep off has become less.
    ASSIGN_OR_RETURN(const ExprId choice, Schema(narrowed, depth));
    choices.push_back(choice);
  }
  return rules_.Choice(std::move(choices));
}

absl::StatusOr<bool> SchemaCompiler::Apart(const Parts& a, const Parts& b, int depth) {
  if (depth > kApartDepthMax || a.empty() || b.empty()) return false;
  std::vector<Parts> of_a, of_b;
  RETURN_IF_ERROR(Conjunctions(a, 0, &of_a));
  RETURN_IF_ERROR(Conjunctions(b, 0, &of_b));
  for (const Parts& one : of_a) {
    for (const Parts& other : of_b) {
      if (one.empty() || other.empty()) return false;
      ASSIGN_OR_RETURN(const Ways ways, KeepOff(one, other, depth));
      if (!ways || ways->size() != 1 || !ways->front().empty()) return false;
    }
  }
  return true;
}

// One way without parts: nothing is to be added.
absl::StatusOr<SchemaCompiler::Ways> SchemaCompiler::KeepOff(const Parts& parts, const Parts& off,
                                                             int depth) {
  RETURN_IF_ERROR(SpendWork(parts[0].pointer, 1));
  ASSIGN_OR_RETURN(const unsigned types, TypesOf(parts));
  ASSIGN_OR_RETURN(const unsigned off_types, TypesOf(off, /*implied=*/false));
  if (IsFinite(parts)) {
    ASSIGN_OR_RETURN(const std::vector<std::string> values, Values(parts, types));
    return KeepOffValues(parts, off, values);
  }
  unsigned apart = 0, shared = 0;
  std::vector<Parts> ways;
  for (const auto& [bits, name] : kClasses) {
    if ((types & bits) == 0) continue;
    if ((off_types & bits) == 0) {
      apart |= types & bits;
      continue;
    }
    ASSIGN_OR_RETURN(const Ways own, KeepOffType(parts, off, bits, depth));
    if (!own) return Ways();
    if (own->size() == 1 && own->front().empty()) {
      apart |= types & bits;
      continue;
    }
    shared |= bits;
    for (Parts way : *own) {
      way.push_back(Made(TypedJson(types & bits), parts[0].pointer));
      ways.push_back(std::move(way));
    }
  }
  if (shared == 0) return Ways({Parts{}});
  if (apart != 0) ways.push_back({Made(TypedJson(apart), parts[0].pointer)});
  return Ways(std::move(ways));
}

absl::StatusOr<SchemaCompiler::Ways> SchemaCompiler::KeepOffType(const Parts& parts,
                                                                 const Parts& off, unsigned type,
                                                                 int depth) {
  if (type == kNumeric) {
    // Of numbers those that are no integers are left, which have no schema of their own.
    ASSIGN_OR_RETURN(const unsigned own_types, TypesOf(parts));
    ASSIGN_OR_RETURN(const unsigned off_types, TypesOf(off, /*implied=*/false));
    if ((own_types & ~off_types & kNumber) != 0 && !SaysOf(off, type)) return Ways();
  }
  if (!SaysOf(off, type)) return Ways(std::vector<Parts>{});  // all of the type is excluded
  switch (type) {
    case kNull:
      return KeepOffValues(parts, off, {"null"});
    case kBoolean:
      return KeepOffValues(parts, off, {"true", "false"});
    case kString:
      return KeepOffStrings(parts, off);
    case kArray:
      return KeepOffArrays(parts, off, depth);
    case kObject:
      return KeepOffObjects(parts, off, depth);
    default:
      return KeepOffNumbers(parts, off);
  }
}

// Of all values there are those that are not excluded.
absl::StatusOr<SchemaCompiler::Ways> SchemaCompiler::KeepOffValues(
    const Parts& parts, const Parts& off, const std::vector<std::string>& values) {
  std::vector<std::string> kept;
  for (const std::string& text : values) {
    const auto document = base::JsonDocument::Parse(text);
    if (!document.ok()) continue;
    ASSIGN_OR_RETURN(const bool violates, Violates(document->root(), off, 0));
    if (violates) kept.push_back(text);
  }
  if (kept.size() == values.size()) return Ways({Parts{}});
  if (kept.empty()) return Ways(std::vector<Parts>{});
  return Ways(
      {Parts{Made(absl::StrCat("{\"enum\":[", absl::StrJoin(kept, ","), "]}"), parts[0].pointer)}});
}

absl::StatusOr<SchemaCompiler::Ways> SchemaCompiler::KeepOffNumbers(const Parts& parts,
                                                                    const Parts& off) {
  ASSIGN_OR_RETURN(const NumberBounds own, BoundsOf(parts));
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double low = own.min.value_or(-kInfinity), high = own.max.value_or(kInfinity);
  std::vector<Parts> ways;
  // Where there is room for a whole number.
  const auto add = [&](std::optional<double> from, bool from_out, std::optional<double> to,
                       bool to_out) {
    if (std::max(from.value_or(low), low) + 1 >= std::min(to.value_or(high), high)) return;
    std::vector<std::string> bounds;
    if (from) {
      bounds.push_back(
          absl::StrFormat("\"%s\":%.17g", from_out ? "exclusiveMinimum" : "minimum", *from));
    }
    if (to) {
      bounds.push_back(
          absl::StrFormat("\"%s\":%.17g", to_out ? "exclusiveMaximum" : "maximum", *to));
    }
    ways.push_back({Made("{" + absl::StrJoin(bounds, ",") + "}", parts[0].pointer)});
  };
  if (IsFinite(off)) {
    ASSIGN_OR_RETURN(const std::vector<std::string> values, Values(off, kNumeric));
    std::set<double> inside;
    for (const std::string& text : values) {
      const auto document = base::JsonDocument::Parse(text);
      if (!document.ok()) return Ways();
      ASSIGN_OR_RETURN(const bool violates, Violates(document->root(), parts, 0));
      if (!violates) inside.insert(document->root().AsNumber().value_or(0));
    }
    if (inside.empty()) return Ways({Parts{}});
    if (inside.size() >= kWaysMax) return Ways();
    std::optional<double> from;
    for (const double value : inside) {
      add(from, true, value, true);
      from = value;
    }
    add(from, true, std::nullopt, false);
  } else {
    ASSIGN_OR_RETURN(const NumberBounds away, BoundsOf(off));
    const bool below =
        away.min && (high < *away.min || (high == *away.min && (own.below_max || away.above_min)));
    const bool above =
        away.max && (low > *away.max || (low == *away.max && (own.above_min || away.below_max)));
    if (below || above) return Ways({Parts{}});
    if (away.min) add(std::nullopt, false, *away.min, !away.above_min);
    if (away.max) add(*away.max, !away.below_max, std::nullopt, false);
  }
  if (ways.empty()) return Ways();
  return Ways(std::move(ways));
}

absl::StatusOr<SchemaCompiler::Ways> SchemaCompiler::KeepOffStrings(const Parts& parts,
                                                                    const Parts& off) {
  int32_t min = 0, max = Rules::kUnbounded, off_min = 0, off_max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minLength", "maxLength", &min, &max));
  RETURN_IF_ERROR(Counts(off, "minLength", "maxLength", &off_min, &off_max));
  if ((max != Rules::kUnbounded && max < off_min) ||
      (off_max != Rules::kUnbounded && min > off_max)) {
    return Ways({Parts{}});
  }
  bool says = off_min > 0 || off_max != Rules::kUnbounded || IsFinite(off);
  for (const Part& part : off) {
    says = says || part.schema.Get("pattern").present();
    const JsonValue format = part.schema.Get("format");
    for (const Part& own : parts) {
      const JsonValue own_format = own.schema.Get("format");
      if (format.is_string() && own_format.is_string() &&
          FormatsApart(own_format.AsString().value_or(""), format.AsString().value_or(""))) {
        return Ways({Parts{}});
      }
    }
  }
  if (!says) return Ways();
  Part text = Made("{}", "");
  text.settled = true;  // as text, in StringBesides
  return Ways({Parts{std::move(text)}});
}

absl::StatusOr<SchemaCompiler::Ways> SchemaCompiler::KeepOffArrays(const Parts& parts,
                                                                   const Parts& off, int depth) {
  if (IsFinite(off)) return Ways();
  int32_t min = 0, max = Rules::kUnbounded, off_min = 0, off_max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minItems", "maxItems", &min, &max));
  RETURN_IF_ERROR(Counts(off, "minItems", "maxItems", &off_min, &off_max));
  if ((max != Rules::kUnbounded && max < off_min) ||
      (off_max != Rules::kUnbounded && min > off_max)) {
    return Ways({Parts{}});
  }
  for (int32_t i = 0; i < std::min<int32_t>(min, kWaysMax); ++i) {
    ASSIGN_OR_RETURN(const bool apart, Apart(AboutItem(parts, i), AboutItem(off, i), depth + 1));
    if (apart) return Ways({Parts{}});
  }
  std::vector<Parts> ways;
  if (off_min > min) {
    ways.push_back({Made(absl::StrCat("{\"maxItems\":", off_min - 1, "}"), parts[0].pointer)});
  }
  if (off_max != Rules::kUnbounded && (max == Rules::kUnbounded || max > off_max)) {
    ways.push_back({Made(absl::StrCat("{\"minItems\":", off_max + 1, "}"), parts[0].pointer)});
  }
  if (ways.empty()) return Ways();
  return Ways(std::move(ways));
}

absl::StatusOr<SchemaCompiler::Ways> SchemaCompiler::KeepOffObjects(const Parts& parts,
                                                                    const Parts& off, int depth) {
  if (IsFinite(off)) return Ways();
  ASSIGN_OR_RETURN(const Members own, ReadMembers(parts));
  ASSIGN_OR_RETURN(const Members away, ReadMembers(off));
  const bool patterned = std::any_of(parts.begin(), parts.end(), [](const Part& part) {
    return part.schema.Get("patternProperties").present();
  });
  const bool closed = !patterned && (own.closed || (!own.says_extra && own.has_properties));
  std::vector<Parts> ways;
  for (const std::string& name : away.required) {
    if (closed && !own.named.contains(name)) return Ways({Parts{}});
    if (own.required.contains(name)) continue;
    ways.push_back({Made(absl::StrCat("{\"properties\":{", base::JsonQuote(name), ":false}}"),
                         parts[0].pointer)});
  }
  RETURN_IF_ERROR(SpendWork(parts[0].pointer, own.names.size() / 8));
  for (const std::string& name : own.names) {
    const Parts off_about = About(off, name);
    bool apart = std::any_of(off_about.begin(), off_about.end(), [](const Part& part) {
      return part.schema.is_bool() && !part.schema.AsBool().value_or(true);
    });
    if (!apart) {
      ASSIGN_OR_RETURN(apart, Apart(About(parts, name), off_about, depth + 1));
    }
    if (!apart) continue;
    if (own.required.contains(name)) return Ways({Parts{}});
    ways.push_back(
        {Made(absl::StrCat("{\"required\":[", base::JsonQuote(name), "]}"), parts[0].pointer)});
  }
  if (ways.empty()) return Ways();
  if (ways.size() > kWaysMax) ways.resize(kWaysMax);
  return Ways(std::move(ways));
}

}  // namespace conclave::engine::grammar
