#include "engine/chat/go_value.h"

#include <algorithm>

namespace conclave::engine::gotmpl {

Value::Value(List v) : data_(std::make_shared<const List>(std::move(v))) {}
Value::Value(Map v) : data_(std::make_shared<const Map>(std::move(v))) {}
Value::Value(Struct v) : data_(std::make_shared<const Struct>(std::move(v))) {}

Value Value::Byte(unsigned char byte) {
  Value value;
  value.data_ = byte;
  return value;
}

Value Value::Nil() {
  Value value;
  value.data_ = NilInterface{};
  return value;
}

Value Value::NilPointer(std::string_view type) {
  Value value;
  value.data_ = NullPointer{type};
  return value;
}

Value Value::Part(size_t begin, size_t end) const {
  const auto& list = std::get<std::shared_ptr<const List>>(data_);
  return Value(List{.whole = list->whole == nullptr ? list : list->whole,
                    .begin = list->begin + begin,
                    .end = list->begin + end,
                    .type = list->type,
                    .wording = list->wording});
}

int64_t Value::as_int() const {
  return is_byte() ? std::get<unsigned char>(data_) : std::get<int64_t>(data_);
}

std::string Value::type_name() const {
  if (is_bool()) return "bool";
  if (is_byte()) return "uint8";
  if (is_int()) return "int";
  if (is_float()) return "float64";
  if (is_string()) return "string";
  if (is_list()) return std::string(as_list().type);
  if (is_map()) return std::string(as_map().type);
  if (is_struct()) return (as_struct().pointer ? "*" : "") + std::string(as_struct().type);
  if (is_nil_pointer()) return "*" + std::string(std::get<NullPointer>(data_).type);
  return is_nil() ? "interface {}" : "nil";
}

bool Value::truthy() const {
  if (is_bool()) return as_bool();
  if (is_int()) return as_int() != 0;
  if (is_float()) return as_float() != 0;
  if (is_string()) return !as_text().bytes.empty();
  if (is_list()) return !as_list().values().empty();
  if (is_map()) return !as_map().items.empty();
  return is_struct();
}

const Value* Map::Find(std::string_view key) const {
  const auto found = std::lower_bound(
      items.begin(), items.end(), key,
      [](const auto& item, std::string_view wanted) { return item.first.bytes < wanted; });
  return found == items.end() || found->first.bytes != key ? nullptr : &found->second;
}

void Map::Sort() {
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return a.first.bytes < b.first.bytes; });
  // The last of equal ones.
  const auto last = std::unique(items.rbegin(), items.rend(), [](const auto& a, const auto& b) {
    return a.first.bytes == b.first.bytes;
  });
  items.erase(items.begin(), last.base());
}

const Struct::Field* Struct::Find(std::string_view name) const {
  if (opaque) return nullptr;
  for (const Field& field : fields) {
    if (field.name.bytes == name) return &field;
  }
  return nullptr;
}

}  // namespace conclave::engine::gotmpl
