// Filters on lists and dicts (jinja_library.h).
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"
#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text.h"
#include "engine/chat/jinja_text_operations.h"

namespace conclave::engine::jinja {
namespace {

using Result = absl::StatusOr<Value>;
using Values = std::vector<Value>;

Result Length(Interpreter& in, const Value& input, const Arguments&) {
  if (input.is_string()) {
    RETURN_IF_ERROR(in.budget().Bytes(input.as_string().size()));
    return Value(CountCharacters(input.as_string()));
  }
  if (input.is_list() && input.as_list().kind != ListKind::kLazy) {
    return Value(static_cast<int64_t>(input.as_list().items.size()));
  }
  if (input.is_dict()) return Value(static_cast<int64_t>(input.as_dict().items.size()));
  if (input.is_undefined()) return Value(int64_t{0});
  return base::InvalidArgument(
      absl::StrCat("object of type '", std::string(input.type_name()), "' has no length"));
}

Result Default(Interpreter&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("default", arguments, {"default_value", "boolean"}));
  const bool replace = input.is_undefined() || (bound.TruthAt(1, false) && !input.truthy());
  if (!replace) return input;
  return bound.given(0) ? bound[0] : Value::Own("");
}

Result First(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  if (items.empty()) return Value::UndefinedBecause("no first item, sequence was empty");
  return items.front();
}
Result Last(Interpreter& in, const Value& input, const Arguments&) {
  if (input.is_list() && input.as_list().kind == ListKind::kLazy) {
    return NeedsError("last", "a sequence", input);
  }
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  if (items.empty()) return Value::UndefinedBecause("no last item, sequence was empty");
  return items.back();
}
Result ToList(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(Values items, in.Iterate(input));
  return in.MakeList(std::move(items));
}
Result Reverse(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(Values items, in.Iterate(input));
  std::reverse(items.begin(), items.end());
  if (!input.is_string()) return in.MakeList(std::move(items), ListKind::kLazy);
  ASSIGN_OR_RETURN(Text text, Join(in, items, Text()));
  text.markup = input.as_text().markup;
  return Value(std::move(text));
}

Result ItemsFilter(Interpreter& in, const Value& input, const Arguments&) {
  if (input.is_undefined()) return in.MakeList({}, ListKind::kLazy);
  if (!input.is_dict()) return NeedsError("items", "a dict", input);
  ASSIGN_OR_RETURN(const Value method, GetAttribute(in, input, "items"));
  ASSIGN_OR_RETURN(const Value pairs, in.Call(method, {}));
  return in.MakeList(pairs.as_list().items, ListKind::kLazy);
}

// The value itself, or what its attribute path says.
Result Attribute(Interpreter& in, const Value& value, const Value& path) {
  return path.is_undefined() || path.is_none() ? Result(value) : GetPath(in, value, path);
}

Result JoinFilter(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("join", arguments, {"d", "attribute"}));
  ASSIGN_OR_RETURN(Values items, in.Iterate(input));
  ASSIGN_OR_RETURN(const Text separator, ToText(bound[0], in.budget()));
  for (Value& item : items) {
    ASSIGN_OR_RETURN(item, Attribute(in, item, bound[1]));
  }
  ASSIGN_OR_RETURN(Text text, Join(in, items, separator));
  return Value(std::move(text));
}

Result Map(Interpreter& in, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return in.MakeList({}, ListKind::kLazy);  // even of none
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  Values mapped;
  if (arguments.positional.empty()) {
    ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("map", arguments, {"attribute", "default"}));
    if (!bound.given(0)) return base::InvalidArgument("map() needs a filter or an attribute");
    for (const Value& item : items) {
      ASSIGN_OR_RETURN(Value value, GetPath(in, item, bound[0], bound[1]));
      mapped.push_back(std::move(value));
    }
    return in.MakeList(std::move(mapped), ListKind::kLazy);
  }
  const Value& name = arguments.positional[0];
  if (!name.is_string()) return NeedsError("map", "the name of a filter", name);
  Arguments rest{.positional = {arguments.positional.begin() + 1, arguments.positional.end()},
                 .named = arguments.named};
  for (const Value& item : items) {
    RETURN_IF_ERROR(in.budget().Step());
    ASSIGN_OR_RETURN(Value value, in.ApplyFilter(name.as_string(), item, rest));
    mapped.push_back(std::move(value));
  }
  return in.MakeList(std::move(mapped), ListKind::kLazy);
}

// select, reject, selectattr, rejectattr: by a test on the item or on an attribute of it.
template <bool kByAttribute, bool kKeep>
Result Select(Interpreter& in, const Value& input, const Arguments& arguments) {
  if (!input.truthy()) return in.MakeList({}, ListKind::kLazy);  // even of none
  Values rest = arguments.positional;
  Value path;
  if (kByAttribute) {
    if (rest.empty()) return base::InvalidArgument("selectattr() needs an attribute");
    path = rest.front();
    rest.erase(rest.begin());
  }
  std::string test;
  if (!rest.empty()) {
    if (!rest.front().is_string()) return NeedsError("select", "the name of a test", rest.front());
    test = rest.front().as_string();
    rest.erase(rest.begin());
  }
  const Arguments test_arguments{.positional = std::move(rest), .named = arguments.named};
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  Values kept;
  for (const Value& item : items) {
    RETURN_IF_ERROR(in.budget().Step());
    ASSIGN_OR_RETURN(const Value value, Attribute(in, item, path));
    bool holds = value.truthy();
    if (!test.empty()) {
      ASSIGN_OR_RETURN(holds, in.ApplyTest(test, value, test_arguments));
    }
    if (holds == kKeep) kept.push_back(item);
  }
  return in.MakeList(std::move(kept), ListKind::kLazy);
}

// What sorting and grouping compare: strings without case unless it matters. What lacks the
// attribute has `fallback`.
Result SortKey(Interpreter& in, const Value& value, const Value& path, bool case_sensitive,
               const Value& fallback = Value()) {
  ASSIGN_OR_RETURN(Value key, Attribute(in, value, path));
  if (key.is_undefined() && !fallback.is_undefined()) key = fallback;
  if (case_sensitive || !key.is_string()) return key;
  return in.MakeString(Text(ToLower(key.as_string())));
}

// Sorts by the keys, which go in pairs with the items; stable.
absl::Status SortByKey(Interpreter& in, std::vector<std::pair<Value, Value>> keyed, bool reverse,
                       Values* items) {
  absl::Status failed;
  // A comparison that fails says "not less", which keeps the order consistent enough to finish.
  const auto less = [&](const auto& a, const auto& b) {
    if (!failed.ok()) return false;
    const auto order = Compare(a.first, b.first, in.budget());
    if (!order.ok()) {
      failed = order.status();
      return false;
    }
    return reverse ? *order > 0 : *order < 0;
  };
  // Insertion into place by halving: stable, and safe when `less` breaks its word half-way.
  std::vector<std::pair<Value, Value>> sorted;
  for (auto& entry : keyed) {
    const auto place = std::upper_bound(sorted.begin(), sorted.end(), entry, less);
    RETURN_IF_ERROR(in.budget().Step((sorted.end() - place) / 16));
    sorted.insert(place, std::move(entry));
    RETURN_IF_ERROR(failed);
  }
  for (size_t i = 0; i < sorted.size(); ++i) (*items)[i] = std::move(sorted[i].second);
  return absl::OkStatus();
}

absl::Status SortBy(Interpreter& in, const Value& path, const Value& fallback, bool case_sensitive,
                    bool reverse, Values* items) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : *items) {
    ASSIGN_OR_RETURN(Value key, SortKey(in, item, path, case_sensitive, fallback));
    keyed.emplace_back(std::move(key), std::move(item));
  }
  return SortByKey(in, std::move(keyed), reverse, items);
}

// The keys of sort(attribute="a,b.c"): lists, so that equal ones need have no order.
absl::Status SortByPaths(Interpreter& in, const Value& paths, bool case_sensitive, bool reverse,
                         Values* items) {
  Values parts{paths};
  if (paths.is_string()) {
    parts.clear();
    for (const auto part : absl::StrSplit(base::Abs(paths.as_string()), ',')) {
      parts.push_back(Value::Own(std::string(part)));
    }
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : *items) {
    Values keys;
    for (const Value& part : parts) {
      ASSIGN_OR_RETURN(Value key, SortKey(in, item, part, case_sensitive));
      keys.push_back(std::move(key));
    }
    keyed.emplace_back(Value::ListOf(std::move(keys)), std::move(item));
  }
  return SortByKey(in, std::move(keyed), reverse, items);
}

Result Sort(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(Values items, in.Iterate(input));
  RETURN_IF_ERROR(
      SortByPaths(in, bound[2], bound.TruthAt(1, false), bound.TruthAt(0, false), &items));
  return in.MakeList(std::move(items));
}

Result DictSort(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}));
  if (!input.is_dict()) return NeedsError("dictsort", "a dict", input);
  ASSIGN_OR_RETURN(const Text by, bound.TextAt(1, "key"));
  if (by.bytes != "key" && by.bytes != "value") {
    return base::InvalidArgument("dictsort(): by must be 'key' or 'value'");
  }
  ASSIGN_OR_RETURN(const Value pairs, ItemsFilter(in, input, {}));
  Values items = pairs.as_list().items;
  RETURN_IF_ERROR(SortBy(in, Value(int64_t{by.bytes == "key" ? 0 : 1}), Value(),
                         bound.TruthAt(0, false), bound.TruthAt(2, false), &items));
  return in.MakeList(std::move(items));
}

// What may be the key of a dict.
bool IsHashable(const Value& value) {
  if (value.is_dict()) return false;
  if (!value.is_list()) return true;
  const List& list = value.as_list();
  if (!list.tuple()) return !list.plain();
  return std::all_of(list.items.begin(), list.items.end(), IsHashable);
}

Result Unique(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("unique", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  Values kept, keys;
  absl::flat_hash_set<std::string> strings;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value key, SortKey(in, item, bound[1], bound.TruthAt(0, false)));
    bool seen = false;
    if (key.is_string()) {
      seen = !strings.insert(std::string(key.as_string())).second;
    } else {
      if (!IsHashable(key)) return NeedsError("unique", "values without lists and dicts", key);
      for (size_t i = 0; i < keys.size() && !seen; ++i) {
        ASSIGN_OR_RETURN(seen, Equals(keys[i], key, in.budget()));
      }
      if (!seen) keys.push_back(key);
    }
    if (!seen) kept.push_back(item);
  }
  return in.MakeList(std::move(kept), ListKind::kLazy);
}

template <bool kSmallest>
Result Extreme(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("min", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  if (items.empty()) return Value::UndefinedBecause("no aggregated item, sequence was empty");
  size_t best = 0;
  ASSIGN_OR_RETURN(Value best_key, SortKey(in, items[0], bound[1], bound.TruthAt(0, false)));
  for (size_t i = 1; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(Value key, SortKey(in, items[i], bound[1], bound.TruthAt(0, false)));
    ASSIGN_OR_RETURN(const int order, Compare(key, best_key, in.budget()));
    if (kSmallest ? order < 0 : order > 0) {
      best = i;
      best_key = std::move(key);
    }
  }
  return items[best];
}

Result Sum(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("sum", arguments, {"attribute", "start"}));
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  Value sum = bound.given(1) ? bound[1] : Value(int64_t{0});
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value value, Attribute(in, item, bound[0]));
    ASSIGN_OR_RETURN(sum, Binary(in, "+", sum, value));
  }
  return sum;
}

Result Batch(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("batch", arguments, {"linecount", "fill_with"}));
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  ASSIGN_OR_RETURN(const int64_t count, bound.IntAt(0, 0));
  if (count < 1 || count > 100'000) return base::InvalidArgument("batch(): size out of range");
  const auto size = static_cast<size_t>(count);
  Values batches;
  for (size_t begin = 0; begin < items.size(); begin += size) {
    const size_t end = std::min(begin + size, items.size());
    Values batch(items.begin() + static_cast<ptrdiff_t>(begin),
                 items.begin() + static_cast<ptrdiff_t>(end));
    if (bound.given(1) && !bound[1].is_none()) batch.resize(size, bound[1]);
    ASSIGN_OR_RETURN(Value list, in.MakeList(std::move(batch)));
    batches.push_back(std::move(list));
  }
  return in.MakeList(std::move(batches), ListKind::kLazy);
}

Result Slice(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("slice", arguments, {"slices", "fill_with"}));
  ASSIGN_OR_RETURN(const Values items, in.Iterate(input));
  ASSIGN_OR_RETURN(const int64_t count, bound.IntAt(0, 0));
  if (count < 1 || count > 100'000) return base::InvalidArgument("slice(): count out of range");
  const auto slices = static_cast<size_t>(count);
  const size_t size = items.size() / slices, longer = items.size() % slices;
  RETURN_IF_ERROR(in.budget().Items(slices));
  Values made;
  auto at = items.begin();
  for (size_t i = 0; i < slices; ++i) {
    const auto end = at + static_cast<ptrdiff_t>(size + (i < longer ? 1 : 0));
    Values slice(at, end);
    at = end;
    if (bound.given(1) && !bound[1].is_none() && i >= longer) slice.push_back(bound[1]);
    ASSIGN_OR_RETURN(Value list, in.MakeList(std::move(slice)));
    made.push_back(std::move(list));
  }
  return in.MakeList(std::move(made), ListKind::kLazy);
}

Result GroupBy(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("groupby", arguments, {"attribute", "default", "case_sensitive"}));
  const bool case_sensitive = bound.TruthAt(2, false);
  ASSIGN_OR_RETURN(Values items, in.Iterate(input));
  RETURN_IF_ERROR(SortBy(in, bound[0], bound[1], case_sensitive, false, &items));
  Values groups, group;
  Value group_key;
  const auto finish = [&]() -> absl::Status {
    if (group.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Value grouper, SortKey(in, group.front(), bound[0], true, bound[1]));
    ASSIGN_OR_RETURN(Value list, in.MakeList(std::exchange(group, {})));
    ASSIGN_OR_RETURN(Value pair, in.MakeList({grouper, std::move(list)}, ListKind::kGroup));
    groups.push_back(std::move(pair));
    return absl::OkStatus();
  };
  for (Value& item : items) {
    ASSIGN_OR_RETURN(Value key, SortKey(in, item, bound[0], case_sensitive, bound[1]));
    ASSIGN_OR_RETURN(const bool same, Equals(key, group_key, in.budget()));
    if (!same) RETURN_IF_ERROR(finish());
    group_key = std::move(key);
    group.push_back(std::move(item));
  }
  RETURN_IF_ERROR(finish());
  return in.MakeList(std::move(groups));
}

Result Attr(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("attr", arguments, {"name"}));
  ASSIGN_OR_RETURN(const Text name, bound.TextAt(0));
  return GetAttribute(in, input, name.bytes);
}

struct Row {
  std::string_view name;
  FilterFunction filter;
};
constexpr Row kFilters[] = {
    {"attr", Attr},
    {"batch", Batch},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"dictsort", DictSort},
    {"first", First},
    {"groupby", GroupBy},
    {"items", ItemsFilter},
    {"join", JoinFilter},
    {"last", Last},
    {"length", Length},
    {"list", ToList},
    {"map", Map},
    {"max", Extreme<false>},
    {"min", Extreme<true>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<true, false>},
    {"reverse", Reverse},
    {"select", Select<false, true>},
    {"selectattr", Select<true, true>},
    {"slice", Slice},
    {"sort", Sort},
    {"sum", Sum},
    {"unique", Unique},
};

}  // namespace

FilterFunction FindListFilter(std::string_view name) {
  const Row* row = std::find_if(std::begin(kFilters), std::end(kFilters),
                                [&](const Row& candidate) { return candidate.name == name; });
  return row == std::end(kFilters) ? nullptr : row->filter;
}

FilterFunction FindFilter(std::string_view name) {
  const FilterFunction found = FindListFilter(name);
  if (found != nullptr) return found;
  const FilterFunction markup = FindMarkupFilter(name);
  return markup != nullptr ? markup : FindTextFilter(name);
}

}  // namespace conclave::engine::jinja
