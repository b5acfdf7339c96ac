// Functions every template can call (jinja_library.h).
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/chat/jinja_library.h"

namespace conclave::engine::jinja {
namespace {

using Result = absl::StatusOr<Value>;

constexpr int64_t kRangeMax = 100'000;  // as Jinja's sandbox

Result Range(Interpreter& in, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("range", arguments, {"start", "stop", "step"}));
  ASSIGN_OR_RETURN(const int64_t first, bound.IntAt(0, 0));
  const bool one = !bound.given(1);
  ASSIGN_OR_RETURN(const int64_t stop, bound.IntAt(1, first));
  ASSIGN_OR_RETURN(const int64_t step, bound.IntAt(2, 1));
  const int64_t start = one ? 0 : first;
  if (!bound.given(0)) return base::InvalidArgument("range() needs an argument");
  if (step == 0) return base::InvalidArgument("range(): step must not be zero");
  const double count =
      (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
  if (count > static_cast<double>(kRangeMax)) {
    return base::InvalidArgument(absl::StrCat("range(): longer than ", kRangeMax));
  }
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.push_back(Value(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  RETURN_IF_ERROR(in.budget().Items(items.size()));
  List range{.items = std::move(items), .kind = ListKind::kRange};
  range.text = absl::StrCat("range(", start, ", ", stop,
                            step == 1 ? std::string() : absl::StrCat(", ", step), ")");
  return Value(std::make_shared<const List>(std::move(range)));
}

Result MakeNamespace(Interpreter&, const Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  for (const Value& value : arguments.positional) {
    if (!value.is_dict()) return NeedsError("namespace", "a dict", value);
    for (const auto& [key, item] : value.as_dict().items) {
      if (!key.is_string()) return NeedsError("namespace", "strings as keys", key);
      RETURN_IF_ERROR(SetAttribute(*space, key.as_string(), item));
    }
  }
  for (const auto& [name, value] : arguments.named) {
    RETURN_IF_ERROR(SetAttribute(*space, name, value));
  }
  return Value(std::move(space));
}

Result MakeDict(Interpreter& in, const Arguments& arguments) {
  Dict dict;
  for (const Value& value : arguments.positional) {
    ASSIGN_OR_RETURN(const std::vector<Value> entries, in.Iterate(value));
    for (const Value& entry : entries) {
      if (value.is_dict()) {
        dict.Set(entry, *value.as_dict().Find(entry));
        continue;
      }
      ASSIGN_OR_RETURN(const std::vector<Value> pair, in.Iterate(entry));
      if (pair.size() != 2) return NeedsError("dict", "pairs", entry);
      RETURN_IF_ERROR(CheckStorable(pair[1]));
      dict.Set(pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) {
    RETURN_IF_ERROR(CheckStorable(value));
    dict.Set(Value::Own(name), value);
  }
  RETURN_IF_ERROR(in.budget().Items(dict.items.size()));
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

Result RaiseException(Interpreter& in, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("raise_exception", arguments, {"message"}));
  ASSIGN_OR_RETURN(const Text message, ToText(bound[0], in.budget()));
  return base::InvalidArgument(absl::StrCat("the template says: ", message.bytes.substr(0, 1000)));
}

Result StrftimeNow(Interpreter& in, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("strftime_now", arguments, {"format"}));
  ASSIGN_OR_RETURN(const Text format, bound.TextAt(0));
  if (format.bytes.empty() || format.bytes.size() > 200) {
    return base::InvalidArgument("strftime_now(): format must have 1 to 200 bytes");
  }
  const std::time_t seconds = std::chrono::system_clock::to_time_t(in.now());
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[4096];
  const size_t size = std::strftime(text, sizeof(text), format.bytes.c_str(), &local);
  return in.MakeString(Text(std::string(text, size)));
}

}  // namespace

const Value* FindGlobal(std::string_view name) {
  struct Row {
    std::string_view name;
    Value value;
  };
  static const auto* rows = new std::vector<Row>{
      {"range", Value::Function("range", Range)},
      {"namespace", Value::Function("namespace", MakeNamespace)},
      {"dict", Value::Function("dict", MakeDict)},
      {"raise_exception", Value::Function("raise_exception", RaiseException)},
      {"strftime_now", Value::Function("strftime_now", StrftimeNow)},
  };
  for (const Row& row : *rows) {
    if (row.name == name) return &row.value;
  }
  return nullptr;
}

}  // namespace conclave::engine::jinja
