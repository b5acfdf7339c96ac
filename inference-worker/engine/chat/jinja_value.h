// What a template computes with: Python's values as far as chat templates need them, and strings
// that remember which of their bytes came from the conversation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/status.h"
#include "engine/chat/jinja_budget.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine::jinja {

// A string. `user` are the bytes that came from the conversation: ascending, disjoint, not
// touching. The template's own bytes are all others.
struct Text {
  std::string bytes;
  std::vector<TextRange> user;
  // Made by `safe` or `escape`: what is added to it with + is escaped, as in Jinja.
  bool markup = false;

  Text() = default;
  explicit Text(std::string own) : bytes(std::move(own)) {}
  // All bytes from the conversation.
  static Text FromUser(std::string bytes);

  bool tainted() const { return !user.empty(); }
  void Append(std::string_view own) { bytes.append(own); }
  void Append(const Text& other) { AppendPart(other, 0, other.bytes.size()); }
  // Bytes [begin, end) of `other`.
  void AppendPart(const Text& other, size_t begin, size_t end);
  void AppendUser(std::string_view theirs);
  Text Part(size_t begin, size_t end) const;
  // `text` with all bytes from the conversation if any of `from` were: for operations that do not
  // keep places.
  static Text Tainting(std::string text, bool tainted);
};

class Value;
class Interpreter;
struct List;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;

struct Undefined {
  std::shared_ptr<const std::string> what;  // "'x' is undefined"
};
struct None {};
// An integer beyond 64 bits, in decimal digits: it can be printed and compared for equality, no
// more.
struct BigInteger {
  std::shared_ptr<const std::string> digits;
};

// What Python keeps in order, each printed and refused in its own way.
enum class ListKind {
  kList,
  kTuple,
  kGroup,  // a tuple whose items are also `grouper` and `list`, from groupby
  kRange,
  kKeys,  // of a dict, as are the next two
  kValues,
  kItems,
  kLazy,  // what map, select and their kin give: it has no length and is visited once
};

// What a call passes.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Cheap to copy; strings, lists and dicts are shared and never change once made.
class Value final {
 public:
  Value() = default;              // undefined
  Value(None) : data_(None{}) {}  // NOLINT
  explicit Value(BigInteger v) : data_(std::move(v)) {}
  explicit Value(bool v) : data_(v) {}
  explicit Value(int64_t v) : data_(v) {}
  explicit Value(double v) : data_(v) {}
  explicit Value(Text v) : data_(std::make_shared<const Text>(std::move(v))) {}
  explicit Value(std::shared_ptr<const List> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<const Dict> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<Namespace> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<const Callable> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<const Loop> v) : data_(std::move(v)) {}

  // The integer that `digits` say, perhaps with a sign.
  static Value Integer(std::string digits);
  // The template's own text.
  static Value Own(std::string text) { return Value(Text(std::move(text))); }
  static Value UndefinedBecause(std::string what);
  static Value ListOf(std::vector<Value> items, ListKind kind = ListKind::kList);
  static Value Function(std::string name,
                        std::function<absl::StatusOr<Value>(Interpreter&, const Arguments&)> call);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const Text>>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(data_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(data_); }
  bool is_number() const { return is_int() || is_float() || is_bool(); }
  bool is_plain_list() const;  // list or tuple
  bool is_big() const { return std::holds_alternative<BigInteger>(data_); }
  const std::string& big_digits() const { return *std::get<BigInteger>(data_).digits; }

  // Preconditions: the kind is right. AsInt takes bools, AsFloat all numbers.
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t as_int() const;
  double as_float() const;
  const Text& as_text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  std::string_view as_string() const { return as_text().bytes; }
  const List& as_list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }

  // nullptr when it is something else.
  std::shared_ptr<Namespace> as_namespace() const;
  std::shared_ptr<const Callable> as_callable() const;
  std::shared_ptr<const Loop> as_loop() const;

  // "'x' is undefined"; precondition: is_undefined().
  std::string undefined_message() const;
  // Python's truth.
  bool truthy() const;
  // "str", "dict", … as Python's messages say it.
  std::string_view type_name() const;
  // How deep lists and dicts nest in it: 0 for all else.
  int depth() const;

 private:
  std::variant<Undefined, None, bool, int64_t, BigInteger, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Callable>, std::shared_ptr<const Loop>>
      data_;
};

// Values never nest deeper; what would is refused where it is made.
inline constexpr int kValueDepthMax = 200;

struct List {
  std::vector<Value> items;
  ListKind kind = ListKind::kList;
  int depth = 1;
  std::string text;              // of kRange, as it is printed; a slice of one has none
  mutable bool visited = false;  // of kLazy

  bool tuple() const { return kind == ListKind::kTuple || kind == ListKind::kGroup; }
  // Lists and tuples: what + and < and tojson take.
  bool plain() const { return kind == ListKind::kList || tuple(); }
  bool has_items() const { return plain() || kind == ListKind::kRange; }  // value[0]
};

// Keeps the order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;

  // A later value for the same key replaces the earlier one, in its place.
  void Set(Value key, Value value);
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;

 private:
  absl::flat_hash_map<std::string, size_t> index_;  // of string keys
  absl::flat_hash_map<double, size_t> numbers_;     // of numbers: 1, 1.0 and True are one key
};

// {% set ns.x = … %}: the one thing that changes. Holds no namespaces and no functions, so that
// nothing can hold itself.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* Find(std::string_view name) const;
};

struct Callable {
  std::string name;
  std::function<absl::StatusOr<Value>(Interpreter&, const Arguments&)> call;
};

// The `loop` of a for body.
struct Loop {
  std::shared_ptr<const std::vector<Value>> items;
  size_t index0 = 0;
  int64_t depth0 = 0;
  std::shared_ptr<const Callable> recurse;           // of a recursive loop, else nullptr
  std::shared_ptr<std::vector<Value>> last_changed;  // what loop.changed() saw last
};

// Python's ==, < and str(), repr(). All charge the budget for what they walk.
absl::StatusOr<bool> Equals(const Value& a, const Value& b, Budget& budget);
// Negative, 0 or positive; INVALID_ARGUMENT for values that have no order.
absl::StatusOr<int> Compare(const Value& a, const Value& b, Budget& budget);
absl::StatusOr<Text> ToText(const Value& value, Budget& budget);
absl::StatusOr<Text> ToRepr(const Value& value, Budget& budget);
// repr(float): the shortest digits that read back the same.
std::string FloatText(double value);

}  // namespace conclave::engine::jinja
