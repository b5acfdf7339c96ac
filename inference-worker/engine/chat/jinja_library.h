// What templates can call: operators, methods, filters, tests and globals, each a table.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/jinja_eval.h"

namespace conclave::engine::jinja {

// a + b and its kin; `op` as written.
absl::StatusOr<Value> Binary(Interpreter& in, std::string_view op, const Value& left,
                             const Value& right);
absl::StatusOr<Value> Negate(const Value& value);
// item in container
absl::StatusOr<bool> IsIn(Interpreter& in, const Value& item, const Value& container);

// value.name and value[key]. Undefined when there is no such thing; INVALID_ARGUMENT for what
// Python would not allow, and for names that begin with an underscore.
absl::StatusOr<Value> GetAttribute(Interpreter& in, const Value& value, std::string_view name);
absl::StatusOr<Value> GetItem(Interpreter& in, const Value& value, const Value& key);
// value[start:stop:step], each perhaps undefined or none.
absl::StatusOr<Value> GetSlice(Interpreter& in, const Value& value, const Value& start,
                               const Value& stop, const Value& step);
// "user.name" or "0": attribute after attribute, as map(attribute=…) takes it.
// `fallback` takes the place of each that is missing.
absl::StatusOr<Value> GetPath(Interpreter& in, const Value& value, const Value& path,
                              const Value& fallback = Value());

// ns.name = value. INVALID_ARGUMENT for names that begin with an underscore and for values that
// could make a namespace hold itself.
absl::Status SetAttribute(Namespace& space, std::string_view name, const Value& value);
// Whether a list or dict may hold the value: nothing that nests too deeply, and no functions or
// namespaces, which could hold the list in turn.
absl::Status CheckStorable(const Value& value);
// The characters of a string, each a string.
absl::StatusOr<std::vector<Value>> CharactersOf(Interpreter& in, const Text& text);

// value.name as a callable; nothing when the type has no such method. What would change the value
// is undefined, and says so when called. Groups also have their two attributes.
std::optional<Value> FindMethod(const Value& value, std::string_view name);
// range, namespace, dict, raise_exception, strftime_now, …; nullptr when there is none.
const Value* FindGlobal(std::string_view name);

using FilterFunction = absl::StatusOr<Value> (*)(Interpreter& in, const Value& input,
                                                 const Arguments& arguments);
FilterFunction FindFilter(std::string_view name);  // nullptr when there is none
// Their tables, by subject.
FilterFunction FindTextFilter(std::string_view name);
FilterFunction FindListFilter(std::string_view name);
FilterFunction FindMarkupFilter(std::string_view name);

using TestFunction = absl::StatusOr<bool> (*)(Interpreter& in, const Value& input,
                                              const Arguments& arguments);
TestFunction FindTest(std::string_view name);  // nullptr when there is none

// json.dumps(value, ensure_ascii=False, indent=…).
struct JsonStyle {
  int indent = -1;  // -1 = one line
  bool sort_keys = false;
  bool ascii = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
absl::StatusOr<Text> ToJson(Interpreter& in, const Value& value, const JsonStyle& style);

// Arguments by the names of their parameters.
class Bound final {
 public:
  // INVALID_ARGUMENT: too many, unknown or twice given.
  static absl::StatusOr<Bound> Bind(std::string_view callee, const Arguments& arguments,
                                    std::initializer_list<std::string_view> parameters);

  // Undefined when not given.
  const Value& operator[](size_t i) const { return values_[i]; }
  bool given(size_t i) const { return !values_[i].is_undefined(); }
  // INVALID_ARGUMENT naming the parameter when it is of another type.
  absl::StatusOr<Text> TextAt(size_t i) const;
  absl::StatusOr<Text> TextAt(size_t i, std::string_view fallback) const;
  absl::StatusOr<int64_t> IntAt(size_t i, int64_t fallback) const;
  bool TruthAt(size_t i, bool fallback) const { return given(i) ? values_[i].truthy() : fallback; }

 private:
  absl::Status WrongType(size_t i, std::string_view expected) const;
  std::string callee_;
  std::vector<std::string> names_;
  std::vector<Value> values_;
};

// "'join' needs a string, got int"
absl::Status NeedsError(std::string_view callee, std::string_view what, const Value& got);

}  // namespace conclave::engine::jinja
