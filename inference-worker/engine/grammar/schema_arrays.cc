// Arrays of a schema.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/grammar/schema_compiler.h"

namespace conclave::engine::grammar {
namespace {

using base::JsonValue;

// Of which distinct items come in any order; more come in the order of the schema. A rule for each
// set of those that are left.
constexpr size_t kAnyOrderMax = 6;
constexpr size_t kDistinctMax = 64;

int32_t Left(int32_t of, int32_t done) { return std::max(of - done, 0); }

}  // namespace

absl::StatusOr<ExprId> SchemaCompiler::Array(const Parts& parts, int depth) {
  int32_t min = 0, max = Rules::kUnbounded;
  RETURN_IF_ERROR(Counts(parts, "minItems", "maxItems", &min, &max));
  std::vector<Parts> heads;
  Parts rest;
  bool closed = false, says_rest = false;
  for (const Part& part : parts) {
    const JsonValue items = part.schema.Get("items");
    const bool old_tuple = items.is_array();
    const char* keyword = old_tuple ? "items" : "prefixItems";
    const JsonValue prefix = part.schema.Get(keyword);
    if (prefix.present()) {
      if (!prefix.is_array()) return Wrong(Below(part.pointer, keyword), "expected a list");
      if (!heads.empty()) {
        RETURN_IF_ERROR(Refuse(part.pointer, "more than one list of items"));
        continue;
      }
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
    RETURN_IF_ERROR(Refuse(parts[0].pointer, "\"prefixItems\" together with other schemas"));
  }
  ASSIGN_OR_RETURN(const bool unique, IsUnique(parts));
  if (unique && max != 0 && max != 1) {
    ASSIGN_OR_RETURN(const auto values, heads.empty() ? FiniteValues(rest)
                                                      : std::optional<std::vector<std::string>>());
    if (values) {
      if (static_cast<size_t>(min) > values->size()) {
        return Wrong(parts[0].pointer, "there are not as many distinct items as \"minItems\" says");
      }
      const auto all = static_cast<int32_t>(values->size());
      return Distinct(*values, min, max == Rules::kUnbounded ? all : std::min(max, all));
    }
    RETURN_IF_ERROR(Refuse(parts[0].pointer,
                           "\"uniqueItems\" of items that are not among up to 64 given values"));
  }
  if (heads.empty()) {
    ASSIGN_OR_RETURN(const std::optional<ExprId> containing, Containing(parts, rest, depth));
    if (containing) return *containing;
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

// What is said of the item at a place.
SchemaParts SchemaCompiler::AboutItem(const Parts& parts, int32_t index) {
  Parts about;
  for (const Part& part : parts) {
    const JsonValue items = part.schema.Get("items");
    const char* keyword = items.is_array() ? "items" : "prefixItems";
    const JsonValue heads = part.schema.Get(keyword);
    if (heads.is_array() && static_cast<size_t>(index) < heads.size()) {
      about.push_back({heads.At(static_cast<size_t>(index)),
                       absl::StrCat(part.pointer, "/", keyword, "/", index)});
    } else if (items.present() && !items.is_array()) {
      about.push_back({items, Below(part.pointer, "items")});
    }
  }
  return about;
}

absl::StatusOr<bool> SchemaCompiler::IsUnique(const Parts& parts) const {
  bool unique = false;
  for (const Part& part : parts) {
    const JsonValue value = part.schema.Get("uniqueItems");
    if (!value.present()) continue;
    if (!value.is_bool()) return Wrong(Below(part.pointer, "uniqueItems"), "expected a boolean");
    unique = unique || value.AsBool().value_or(false);
  }
  return unique;
}

// All values of a schema, as JSON, where they are few.
absl::StatusOr<std::optional<std::vector<std::string>>> SchemaCompiler::FiniteValues(
    const Parts& parts) {
  using Values = std::vector<std::string>;
  Parts all;
  bool impossible = false;
  for (const Part& part : parts) RETURN_IF_ERROR(Gather(part, {}, &all, &impossible));
  if (all.empty() || impossible) return std::optional<Values>();
  bool named = false;
  for (const Part& part : all) {
    const bool choice = part.schema.Get("anyOf").present() || part.schema.Get("oneOf").present();
    if (choice || part.besides >= 0) {
      return std::optional<Values>();
    }
    named = named || part.schema.Get("enum").present() || part.schema.Get("const").present();
  }
  ASSIGN_OR_RETURN(const unsigned types, TypesOf(all));
  Values values;
  if (named) {
    ASSIGN_OR_RETURN(values, this->Values(all, types));
    ASSIGN_OR_RETURN(values, Admitted(all, std::move(values), 1));
  } else if ((types & ~(kNull | kBoolean)) == 0) {
    if (types & kNull) values.push_back("null");
    if (types & kBoolean) values.insert(values.end(), {"true", "false"});
  } else if (types == kInteger && all.size() == 1 &&
             !all[0].schema.Get("exclusiveMinimum").present() &&
             !all[0].schema.Get("exclusiveMaximum").present() &&
             !all[0].schema.Get("multipleOf").present()) {
    const auto low = all[0].schema.Get("minimum").AsInt();
    const auto high = all[0].schema.Get("maximum").AsInt();
    if (!low.ok() || !high.ok() || *high < *low ||
        static_cast<uint64_t>(*high) - static_cast<uint64_t>(*low) >= kDistinctMax) {
      return std::optional<Values>();
    }
    for (int64_t n = *low; n <= *high; ++n) values.push_back(absl::StrCat(n));
  } else {
    return std::optional<Values>();
  }
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.size() > kDistinctMax) return std::optional<Values>();
  return std::optional<Values>(std::move(values));
}

// A list of min to max of the values, none twice.
ExprId SchemaCompiler::Distinct(const std::vector<std::string>& values, int32_t min, int32_t max) {
  const size_t count = values.size();
  const bool any_order = count <= kAnyOrderMax;
  // What may follow when `used` of them are there already and, where the order is fixed, only those
  // from `from` on are left.
  std::map<std::pair<uint64_t, int32_t>, ExprId> known;
  const auto follow = [&](const auto& self, uint64_t used, size_t from, int32_t done) -> ExprId {
    const std::pair<uint64_t, int32_t> key{any_order ? used : from, done};
    if (const auto found = known.find(key); found != known.end()) return found->second;
    std::vector<ExprId> choices;
    if (done >= min) choices.push_back(rules_.Text(""));
    for (size_t i = any_order ? 0 : from; done < max && i < count; ++i) {
      if (any_order && (used >> i & 1) != 0) continue;
      const uint64_t next = any_order ? used | uint64_t{1} << i : 0;
      const ExprId rest = self(self, next, i + 1, done + 1);
      const ExprId value = rules_.Text(values[i]);
      choices.push_back(done == 0 ? rules_.Sequence({value, rest})
                                  : rules_.Sequence({json_.Comma(), value, rest}));
    }
    const RuleId rule = rules_.AddRule("distinct");
    if (rules_.full()) return 0;
    rules_.Define(rule, rules_.Choice(std::move(choices)));
    return known[key] = rules_.Call(rule);
  };
  return json_.Braces('[', follow(follow, 0, 0, 0), ']');
}

// An item of both schemas with any items around it; nullopt without "contains".
absl::StatusOr<std::optional<ExprId>> SchemaCompiler::Containing(const Parts& parts,
                                                                 const Parts& items, int depth) {
  std::optional<Part> wanted;
  for (const Part& part : parts) {
    const JsonValue contains = part.schema.Get("contains");
    if (!contains.present()) continue;
    ASSIGN_OR_RETURN(const std::optional<int32_t> least, Count(part, "minContains"));
    if (least == 0 && !part.schema.Get("maxContains").present()) continue;
    const bool plain =
        !wanted && least.value_or(1) == 1 && !part.schema.Get("maxContains").present() &&
        !part.schema.Get("minItems").present() && !part.schema.Get("maxItems").present();
    if (!plain) {
      RETURN_IF_ERROR(Refuse(part.pointer, "\"contains\" beside another one or counts"));
      return std::optional<ExprId>();
    }
    wanted = Part{contains, Below(part.pointer, "contains")};
  }
  if (!wanted) return std::optional<ExprId>();
  ASSIGN_OR_RETURN(const ExprId any, items.empty() ? json_.Value() : Schema(items, depth + 1));
  Parts both = items;
  both.push_back(*wanted);
  ASSIGN_OR_RETURN(const ExprId one, Schema(both, depth + 1));
  const ExprId before = rules_.Repeat(rules_.Sequence({any, json_.Comma()}), 0, Rules::kUnbounded);
  const ExprId behind = rules_.Repeat(rules_.Sequence({json_.Comma(), any}), 0, Rules::kUnbounded);
  return std::optional<ExprId>(json_.Braces('[', rules_.Sequence({before, one, behind}), ']'));
}

// `heads` in order, then `more`; between min and max of all.
ExprId SchemaCompiler::Items(const std::vector<ExprId>& heads, std::optional<ExprId> more,
                             int32_t min, int32_t max) {
  const auto count = static_cast<int32_t>(heads.size());
  ExprId tail = rules_.Text("");
  if (more) {
    const int32_t first = std::max(count, 1);  // after the heads, or after one of its own
    tail = rules_.Repeat(rules_.Sequence({json_.Comma(), *more}), Left(min, first),
                         max == Rules::kUnbounded ? max : Left(max, first));
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

}  // namespace conclave::engine::grammar
