// Objects of a schema.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "engine/grammar/schema_compiler.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

// Each doubles the ways in which members can be there or not.
constexpr size_t kDependentsMax = 4;
// A state for each member and how many of those before it are there.
constexpr size_t kCountedMax = 64;

}  // namespace

absl::StatusOr<ExprId> SchemaCompiler::Object(const Parts& parts, int depth) {
  ASSIGN_OR_RETURN(const Members members, ReadMembers(parts));
  int32_t min = 0, max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minProperties", "maxProperties", &min, &max));
  std::map<std::string, std::set<std::string>> dependents;
  for (const Part& part : parts) RETURN_IF_ERROR(ReadDependents(part, members, &dependents));
  ASSIGN_OR_RETURN(std::optional<ExprId> other, Others(parts, members, depth));
  if (other && min > static_cast<int32_t>(members.required.size()) + 1) {
    // A name that comes twice counts once, and free names may.
    RETURN_IF_ERROR(Refuse(parts[0].pointer, "\"minProperties\" where names are free"));
    min = 0;
  }
  std::vector<std::pair<std::string, ExprId>> values;
  for (const std::string& name : members.names) {
    ASSIGN_OR_RETURN(const ExprId value, Property(parts, name, depth));
    values.emplace_back(name, json_.Member(rules_.Text(base::JsonQuote(name)), value));
  }
  // Either a member with dependents is not there, or they all are.
  std::vector<ExprId> shapes;
  std::vector<std::string> keys;
  for (const auto& [key, names] : dependents) keys.push_back(key);
  for (uint32_t there = 0; there < uint32_t{1} << keys.size(); ++there) {
    std::set<std::string> required = members.required, absent;
    for (size_t i = 0; i < keys.size(); ++i) {
      if ((there >> i & 1) == 0) {
        absent.insert(keys[i]);
        continue;
      }
      required.insert(keys[i]);
      required.insert(dependents[keys[i]].begin(), dependents[keys[i]].end());
    }
    if (std::any_of(absent.begin(), absent.end(),
                    [&](const std::string& key) { return required.contains(key); })) {
      continue;
    }
    std::vector<Rules::ListItem> items;
    for (const auto& [name, member] : values) {
      if (!absent.contains(name)) items.push_back({member, !required.contains(name)});
    }
    shapes.push_back(Counted(items, other, min, max));
  }
  return rules_.Choice(std::move(shapes));
}

absl::StatusOr<SchemaCompiler::Members> SchemaCompiler::ReadMembers(const Parts& parts) {
  Members members;
  for (const Part& part : parts) {
    RETURN_IF_ERROR(ReadNames(part, &members));
    members.has_properties = members.has_properties || part.schema.Get("properties").present();
    const JsonValue others = part.schema.Get("additionalProperties");
    if (!others.present()) continue;
    if (others.is_bool() && !others.AsBool().value_or(true)) {
      members.closed = true;
    } else {
      members.says_extra = true;
      members.extra.push_back({others, Below(part.pointer, "additionalProperties")});
    }
  }
  return members;
}

absl::Status SchemaCompiler::ReadNames(const Part& part, Members* members) const {
  const JsonValue properties = part.schema.Get("properties");
  if (properties.present() && !properties.is_object()) {
    return Wrong(Below(part.pointer, "properties"), "expected an object");
  }
  properties.ForEachMember([&](std::string_view name, JsonValue) {
    if (members->named.insert(std::string(name)).second) members->names.emplace_back(name);
  });
  const JsonValue list = part.schema.Get("required");
  if (!list.present()) return absl::OkStatus();
  if (!list.is_array()) return Wrong(Below(part.pointer, "required"), "expected a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const auto name = list.At(i).AsString();
    if (!name.ok()) return Wrong(Below(part.pointer, "required"), "expected names");
    members->required.insert(*name);
    if (members->named.insert(*name).second) members->names.push_back(*name);
  }
  return absl::OkStatus();
}

// Names by the member that asks for them; only members that the schema names.
absl::Status SchemaCompiler::ReadDependents(
    const Part& part, const Members& members,
    std::map<std::string, std::set<std::string>>* dependents) const {
  const JsonValue all = part.schema.Get("dependentRequired");
  if (!all.present()) return absl::OkStatus();
  const std::string place = Below(part.pointer, "dependentRequired");
  if (!all.is_object()) return Wrong(place, "expected an object");
  bool simple = true, lists = true;
  all.ForEachMember([&](std::string_view key, JsonValue names) {
    lists = lists && names.is_array();
    std::set<std::string>& asked = (*dependents)[std::string(key)];
    simple = simple && members.named.contains(std::string(key));
    for (size_t i = 0; i < names.size(); ++i) {
      asked.insert(names.At(i).AsString().value_or(""));
      simple = simple && members.named.contains(names.At(i).AsString().value_or(""));
    }
  });
  if (!lists) return Wrong(place, "expected lists of names");
  if (simple && dependents->size() <= kDependentsMax) return absl::OkStatus();
  dependents->clear();
  return Refuse(place, absl::StrCat("\"dependentRequired\" beyond ", kDependentsMax,
                                    " members that \"properties\" names"));
}

// A member whose name the schema does not say; nullopt when there are to be none.
absl::StatusOr<std::optional<ExprId>> SchemaCompiler::Others(const Parts& parts,
                                                             const Members& members, int depth) {
  std::vector<std::pair<Part, std::string>> patterns;
  for (const Part& part : parts) {
    const JsonValue all = part.schema.Get("patternProperties");
    if (!all.present()) continue;
    const std::string place = Below(part.pointer, "patternProperties");
    if (!all.is_object()) return Wrong(place, "expected an object");
    all.ForEachMember([&](std::string_view pattern, JsonValue schema) {
      patterns.push_back({Part{schema, Below(place, pattern)}, std::string(pattern)});
    });
  }
  // A name could match several patterns, or be one of those that the schema says, and would have to
  // satisfy all of them. Without a word about the others there are none.
  const bool alone = patterns.size() == 1 && members.names.empty() && !members.says_extra;
  if (alone) {
    const auto& [part, pattern] = patterns[0];
    ASSIGN_OR_RETURN(const ExprId value, Schema({part}, depth + 1));
    const auto name = AddPattern(pattern, /*anywhere=*/true, json_, &rules_);
    if (name.ok()) {
      const RuleId rule = rules_.AddRule("member");
      rules_.Define(
          rule,
          json_.Member(rules_.Sequence({rules_.Text("\""), *name, rules_.Text("\"")}), value));
      return std::optional<ExprId>(rules_.Call(rule));
    }
    RETURN_IF_ERROR(Refuse(part.pointer, std::string(name.status().message())));
  } else if (!patterns.empty()) {
    RETURN_IF_ERROR(
        Refuse(patterns[0].first.pointer, "\"patternProperties\" beside other properties"));
  }
  if (members.closed || (!members.says_extra && members.has_properties)) {
    return std::optional<ExprId>();
  }
  ASSIGN_OR_RETURN(const ExprId value,
                   members.extra.empty() ? json_.Value() : Schema(members.extra, depth + 1));
  ASSIGN_OR_RETURN(const ExprId key, KeyOfOthers(parts, members));
  const RuleId rule = rules_.AddRule("member");
  rules_.Define(rule, json_.Member(key, value));
  return std::optional<ExprId>(rules_.Call(rule));
}

// As "propertyNames" says, which is a schema of strings.
absl::StatusOr<ExprId> SchemaCompiler::KeyOfOthers(const Parts& parts, const Members& members) {
  const auto count = std::count_if(parts.begin(), parts.end(), [](const Part& part) {
    return part.schema.Get("propertyNames").present();
  });
  for (const Part& part : parts) {
    const JsonValue names = part.schema.Get("propertyNames");
    if (!names.present()) continue;
    const std::string place = Below(part.pointer, "propertyNames");
    if (!members.names.empty() || count > 1) {
      RETURN_IF_ERROR(Refuse(place, "\"propertyNames\" beside other properties"));
      continue;
    }
    Parts all;
    bool impossible = false;
    RETURN_IF_ERROR(Gather({names, place}, {}, &all, &impossible));
    if (impossible) return rules_.Choice({});
    if (all.empty()) break;
    for (const Part& one : all) {
      if (one.besides >= 0) RETURN_IF_ERROR(Refuse(place, "\"not\" of names"));
    }
    const bool named = std::any_of(all.begin(), all.end(), [](const Part& one) {
      return one.schema.Get("enum").present() || one.schema.Get("const").present();
    });
    if (!named) return String(all);
    ASSIGN_OR_RETURN(const std::vector<std::string> texts, Values(all, kString));
    std::vector<ExprId> keys;
    for (const std::string& text : texts) keys.push_back(rules_.Text(text));
    return rules_.Choice(std::move(keys));
  }
  return json_.KeyBesides(members.names);
}

// The members that are there, between min and max of all, then others.
ExprId SchemaCompiler::Counted(const std::vector<Rules::ListItem>& members,
                               std::optional<ExprId> other, int32_t min, int32_t max) {
  const auto required = static_cast<int32_t>(std::count_if(
      members.begin(), members.end(), [](const Rules::ListItem& item) { return !item.optional; }));
  const bool enough = min <= required;
  const bool fits =
      max == Rules::kUnbounded || (!other && max >= static_cast<int32_t>(members.size()));
  if (members.empty() && !other) return min == 0 ? rules_.Text("{}") : rules_.Choice({});
  if (enough && fits) {
    std::vector<Rules::ListItem> items = members;
    if (other) {
      const ExprId more =
          rules_.Repeat(rules_.Sequence({json_.Comma(), *other}), 0, Rules::kUnbounded);
      items.push_back({rules_.Sequence({*other, more}), true});
    }
    return json_.Braces('{', rules_.List(json_.Comma(), items), '}');
  }
  if (members.size() > kCountedMax) {
    rules_.Overfill();
    return 0;
  }
  // From the last member back: what may come from member i on when `done` are there.
  std::map<std::pair<size_t, int32_t>, ExprId> known;
  const auto from = [&](const auto& self, size_t i, int32_t done) -> ExprId {
    const std::pair<size_t, int32_t> key{i, done};
    if (const auto found = known.find(key); found != known.end()) return found->second;
    ExprId result = 0;
    if (i == members.size()) {
      const int32_t left = max == Rules::kUnbounded ? max : std::max(max - done, 0);
      if (max != Rules::kUnbounded && done > max) {
        result = rules_.Choice({});
      } else if (!other) {
        result = done >= min ? rules_.Text("") : rules_.Choice({});
      } else {
        const ExprId first = done == 0 ? *other : rules_.Sequence({json_.Comma(), *other});
        const int32_t more_max = left == Rules::kUnbounded ? left : std::max(left - 1, 0);
        const ExprId some = rules_.Sequence(
            {first, rules_.Repeat(rules_.Sequence({json_.Comma(), *other}), 0, more_max)});
        result = left == 0     ? (done >= min ? rules_.Text("") : rules_.Choice({}))
                 : done >= min ? rules_.Optional(some)
                               : some;
      }
    } else {
      const ExprId rest = self(self, i + 1, done + 1);
      const ExprId member = members[i].expr;
      std::vector<ExprId> choices = {done == 0 ? rules_.Sequence({member, rest})
                                               : rules_.Sequence({json_.Comma(), member, rest})};
      if (members[i].optional) choices.push_back(self(self, i + 1, done));
      result = rules_.Choice(std::move(choices));
    }
    // A rule of its own, as two ways lead to most of them.
    const RuleId rule = rules_.AddRule("members");
    if (rules_.full()) return 0;
    rules_.Define(rule, result);
    return known[key] = rules_.Call(rule);
  };
  return json_.Braces('{', from(from, 0, 0), '}');
}

// What each part has to say of a property: by name, or as one of the others.
SchemaParts SchemaCompiler::About(const Parts& parts, const std::string& name) {
  Parts about;
  for (const Part& part : parts) {
    const JsonValue named = part.schema.Get("properties").Get(name);
    const JsonValue others = part.schema.Get("additionalProperties");
    if (named.present()) {
      about.push_back({named, Below(Below(part.pointer, "properties"), name)});
    } else if (others.present() && !part.schema.Get("patternProperties").present()) {
      about.push_back({others, Below(part.pointer, "additionalProperties")});
    }
  }
  return about;
}

absl::StatusOr<ExprId> SchemaCompiler::Property(const Parts& parts, const std::string& name,
                                                int depth) {
  RETURN_IF_ERROR(SpendWork(parts[0].pointer, parts.size()));
  const Parts about = About(parts, name);
  return about.empty() ? json_.Value() : Schema(about, depth + 1);
}

}  // namespace conclave::engine::grammar
