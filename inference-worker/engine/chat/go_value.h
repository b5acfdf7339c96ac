// What a Go template computes with: the values that Go's reflection would see, as far as Ollama's
// templates can meet them. Strings remember which of their bytes came from the conversation.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "engine/chat/jinja_budget.h"
#include "engine/chat/jinja_value.h"

namespace conclave::engine::gotmpl {

using jinja::Budget;
using jinja::Text;

struct List;
struct Map;
struct Struct;

// Cheap to copy; strings, lists, maps and structs are shared and never change once made.
class Value final {
 public:
  Value() = default;  // nothing at all, which prints as <no value>
  explicit Value(bool v) : data_(v) {}
  explicit Value(int64_t v) : data_(v) {}
  explicit Value(double v) : data_(v) {}
  explicit Value(Text v) : data_(std::make_shared<const Text>(std::move(v))) {}
  explicit Value(List v);
  explicit Value(Map v);
  explicit Value(Struct v);
  // The template's own text.
  static Value Own(std::string text) { return Value(Text(std::move(text))); }
  // A byte of a string.
  static Value Byte(unsigned char byte);
  // nil where anything could be: an absent key, a null of JSON. A pipeline makes nothing of it;
  // before that its fields cannot be asked for.
  static Value Nil();
  // A pointer to `type` that is nil.
  static Value NilPointer(std::string_view type);

  bool is_nothing() const { return std::holds_alternative<Nothing>(data_); }
  bool is_nil() const { return std::holds_alternative<NilInterface>(data_); }
  bool is_nil_pointer() const { return std::holds_alternative<NullPointer>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_) || is_byte(); }
  bool is_byte() const { return std::holds_alternative<unsigned char>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const Text>>(data_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(data_); }
  bool is_map() const { return std::holds_alternative<std::shared_ptr<const Map>>(data_); }
  bool is_struct() const { return std::holds_alternative<std::shared_ptr<const Struct>>(data_); }

  // Preconditions: the kind is right.
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t as_int() const;
  double as_float() const { return std::get<double>(data_); }
  const Text& as_text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const List& as_list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  // Items [begin, end) of a list, which it goes on to share.
  Value Part(size_t begin, size_t end) const;
  const Map& as_map() const { return *std::get<std::shared_ptr<const Map>>(data_); }
  const Struct& as_struct() const { return *std::get<std::shared_ptr<const Struct>>(data_); }

  // Go's name of the type: "string", "[]interface {}"; "nil" of none.
  std::string type_name() const;
  // What `if` asks.
  bool truthy() const;

 private:
  struct Nothing {};
  struct NilInterface {};
  struct NullPointer {
    std::string_view type;
  };
  std::variant<Nothing, NilInterface, NullPointer, bool, int64_t, unsigned char, double,
               std::shared_ptr<const Text>, std::shared_ptr<const List>, std::shared_ptr<const Map>,
               std::shared_ptr<const Struct>>
      data_;
};

// How a type of Ollama's turns into text by a String() of its own.
enum class Wording {
  kNone,
  kJson,   // as JSON
  kWords,  // one word alone, several as Go prints a list
};

struct List {
  std::vector<Value> items;  // of a slice none: it shares those of the whole
  std::shared_ptr<const List> whole;
  size_t begin = 0, end = 0;  // of a slice, in the items of the whole
  std::string_view type = "[]interface {}";
  Wording wording = Wording::kNone;
  bool nil = false;  // there is no list, which JSON calls null

  std::span<const Value> values() const {
    return whole == nullptr ? std::span(items)
                            : std::span(whole->items).subspan(begin, end - begin);
  }
};

struct Map {
  // Sorted by key, as Go visits and prints it.
  std::vector<std::pair<Text, Value>> items;
  std::string_view type = "map[string]interface {}";
  Wording wording = Wording::kNone;
  bool nil = false;
  std::shared_ptr<const Value> absent;  // of a key that is not there; null = nil

  const Value* Find(std::string_view key) const;
  // Puts the items in order; of equal keys the last stays.
  void Sort();
};

struct Struct {
  struct Field {
    Text name;
    Text json;  // its name in JSON; "" = it has none
    bool omit_empty = false;
    Value value;
  };
  std::string_view type;
  std::vector<Field> fields;
  Wording wording = Wording::kNone;
  bool pointer = false;  // it is a pointer to one
  // Its fields are nobody's business: only JSON shows them.
  bool opaque = false;
  std::vector<std::pair<std::string_view, Value>> methods;  // without arguments, and their results

  const Field* Find(std::string_view name) const;
};

// Go's json.Marshal. INVALID_ARGUMENT: a limit.
absl::StatusOr<Text> ToJson(const Value& value, Budget& budget);

// What a value's own String() says; nullopt: its type has none.
absl::StatusOr<std::optional<Text>> OwnWords(const Value& value, Budget& budget);

}  // namespace conclave::engine::gotmpl
