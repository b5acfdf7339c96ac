#include "engine/chat/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/strings.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

// What repr() shows as it is: all but separators other than the space, controls and what is not
// assigned. Bytes that are not UTF-8 pass.
bool IsPrintable(uint32_t scalar) {
  if (scalar == ' ' || scalar == kInvalidScalar) return true;
  const Category c = CategoryOf(scalar);
  return c > Category::kCs && !IsSeparator(c);
}

std::string QuoteRepr(std::string_view text) {
  const bool double_quotes =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    const char c = text[at];
    if (c == quote || c == '\\') {
      out.append({'\\', c});
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(scalar.value)) {
      out.append(text.substr(at, scalar.length));
    } else if (scalar.value < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", scalar.value);
    } else {
      const bool small = scalar.value < 0x10000;
      absl::StrAppendFormat(&out, "\\%c%0*x", small ? 'u' : 'U', small ? 4 : 8, scalar.value);
    }
    at += scalar.length;
  }
  out.push_back(quote);
  return out;
}

absl::Status AppendRepr(const Value& value, Budget& budget, Text* out);

absl::Status AppendListRepr(const List& list, Budget& budget, Text* out) {
  const std::string_view type = Value::ListOf({}, list.kind).type_name();
  if (list.kind == ListKind::kLazy) {
    return base::InvalidArgument("a generator has no text of its own; it needs |list");
  }
  if (list.kind == ListKind::kRange) {
    if (list.text.empty()) return base::InvalidArgument("a slice of a range needs |list");
    out->Append(list.text);
    return absl::OkStatus();
  }
  const bool view = !list.plain();
  if (view) out->Append(std::string(type) + "(");
  out->Append(list.tuple() ? "(" : "[");
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out->Append(", ");
    RETURN_IF_ERROR(AppendRepr(list.items[i], budget, out));
  }
  if (list.tuple() && list.items.size() == 1) out->Append(",");
  out->Append(list.tuple() ? ")" : "]");
  if (view) out->Append(")");
  return absl::OkStatus();
}

absl::Status AppendDictRepr(const Dict& dict, Budget& budget, Text* out) {
  out->Append("{");
  bool first = true;
  for (const auto& [key, value] : dict.items) {
    if (!first) out->Append(", ");
    first = false;
    RETURN_IF_ERROR(AppendRepr(key, budget, out));
    out->Append(": ");
    RETURN_IF_ERROR(AppendRepr(value, budget, out));
  }
  out->Append("}");
  return absl::OkStatus();
}

std::string ScalarText(const Value& value) {
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.as_bool() ? "True" : "False";
  if (value.is_int()) return absl::StrCat(value.as_int());
  if (value.is_big()) return value.big_digits();
  if (value.is_float()) return FloatText(value.as_float());
  return absl::StrCat("<", std::string(value.type_name()), ">");
}

absl::Status AppendRepr(const Value& value, Budget& budget, Text* out) {
  RETURN_IF_ERROR(budget.Step());
  if (value.is_string()) {
    const Text& text = value.as_text();
    RETURN_IF_ERROR(budget.String(out->bytes.size() + text.bytes.size()));
    const std::string repr = QuoteRepr(text.bytes);
    out->Append(Text::Tainting(text.markup ? "Markup(" + repr + ")" : repr, text.tainted()));
  } else if (value.is_list()) {
    return AppendListRepr(value.as_list(), budget, out);
  } else if (value.is_dict()) {
    return AppendDictRepr(value.as_dict(), budget, out);
  } else if (value.is_undefined()) {
    out->Append("Undefined");
  } else {
    out->Append(ScalarText(value));
  }
  return absl::OkStatus();
}

}  // namespace

// --- Text
// -------------------------------------------------------------------------------------------

Text Text::FromUser(std::string bytes) {
  Text text;
  text.AppendUser(bytes);
  return text;
}

void Text::AppendUser(std::string_view theirs) {
  if (theirs.empty()) return;
  const size_t begin = bytes.size();
  bytes.append(theirs);
  if (!user.empty() && user.back().end == begin) {
    user.back().end = bytes.size();
  } else {
    user.push_back({begin, bytes.size()});
  }
}

void Text::AppendPart(const Text& other, size_t begin, size_t end) {
  const size_t shift = bytes.size();
  bytes.append(other.bytes, begin, end - begin);
  auto range = std::partition_point(other.user.begin(), other.user.end(),
                                    [&](const TextRange& r) { return r.end <= begin; });
  for (; range != other.user.end() && range->begin < end; ++range) {
    const size_t from = std::max(range->begin, begin), to = std::min(range->end, end);
    const TextRange moved{from - begin + shift, to - begin + shift};
    if (!user.empty() && user.back().end == moved.begin) {
      user.back().end = moved.end;
    } else {
      user.push_back(moved);
    }
  }
}

Text Text::Part(size_t begin, size_t end) const {
  Text part;
  part.markup = markup;
  if (begin < end) part.AppendPart(*this, begin, end);
  return part;
}

Text Text::Tainting(std::string text, bool tainted) {
  return tainted ? FromUser(std::move(text)) : Text(std::move(text));
}

// --- Value
// ------------------------------------------------------------------------------------------

Value Value::UndefinedBecause(std::string what) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(what))};
  return value;
}

Value Value::Integer(std::string digits) {
  int64_t small = 0;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, small);
  if (read.ec == std::errc() && read.ptr == end) return Value(small);
  return Value(BigInteger{std::make_shared<const std::string>(std::move(digits))});
}

Value Value::ListOf(std::vector<Value> items, ListKind kind) {
  List list{.items = std::move(items), .kind = kind};
  for (const Value& item : list.items) list.depth = std::max(list.depth, item.depth() + 1);
  return Value(std::make_shared<const List>(std::move(list)));
}

Value Value::Function(std::string name,
                      std::function<absl::StatusOr<Value>(Interpreter&, const Arguments&)> call) {
  return Value(std::make_shared<const Callable>(Callable{std::move(name), std::move(call)}));
}

int64_t Value::as_int() const {
  return is_bool() ? static_cast<int64_t>(as_bool()) : std::get<int64_t>(data_);
}

double Value::as_float() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(as_int());
}

std::shared_ptr<Namespace> Value::as_namespace() const {
  const auto* held = std::get_if<std::shared_ptr<Namespace>>(&data_);
  return held == nullptr ? nullptr : *held;
}
std::shared_ptr<const Callable> Value::as_callable() const {
  const auto* held = std::get_if<std::shared_ptr<const Callable>>(&data_);
  return held == nullptr ? nullptr : *held;
}
std::shared_ptr<const Loop> Value::as_loop() const {
  const auto* held = std::get_if<std::shared_ptr<const Loop>>(&data_);
  return held == nullptr ? nullptr : *held;
}

std::string Value::undefined_message() const {
  const auto& undefined = std::get<Undefined>(data_);
  return undefined.what == nullptr ? "value is undefined" : *undefined.what;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return as_bool();
  if (is_int()) return as_int() != 0;
  if (is_float()) return as_float() != 0;
  if (is_string()) return !as_string().empty();
  if (is_list()) return as_list().kind == ListKind::kLazy || !as_list().items.empty();
  if (is_dict()) return !as_dict().items.empty();
  return true;
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int() || is_big()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) {
    constexpr std::string_view kNames[] = {"list",      "tuple",       "tuple",      "range",
                                           "dict_keys", "dict_values", "dict_items", "generator"};
    return kNames[static_cast<size_t>(as_list().kind)];
  }
  if (is_dict()) return "dict";
  if (as_namespace() != nullptr) return "Namespace";
  return as_loop() != nullptr ? "LoopContext" : "function";
}

bool Value::is_plain_list() const { return is_list() && as_list().plain(); }

int Value::depth() const {
  if (is_list()) return as_list().depth;
  if (is_dict()) return as_dict().depth;
  return 0;
}

// --- Dict and Namespace
// -----------------------------------------------------------------------------

void Dict::Set(Value key, Value value) {
  depth = std::max({depth, key.depth() + 1, value.depth() + 1});
  if (const Value* found = Find(key)) {
    *const_cast<Value*>(found) = std::move(value);
    return;
  }
  if (key.is_string()) index_.try_emplace(std::string(key.as_string()), items.size());
  if (key.is_number()) numbers_.try_emplace(key.as_float(), items.size());
  items.emplace_back(std::move(key), std::move(value));
}

const Value* Dict::Find(std::string_view key) const {
  const auto found = index_.find(base::Abs(key));
  return found == index_.end() ? nullptr : &items[found->second].second;
}

const Value* Dict::Find(const Value& key) const {
  if (key.is_string()) return Find(key.as_string());
  if (key.is_number()) {
    const auto found = numbers_.find(key.as_float());
    return found == numbers_.end() ? nullptr : &items[found->second].second;
  }
  const auto found = std::find_if(items.begin(), items.end(), [&](const auto& item) {
    return key.is_none() && item.first.is_none();
  });
  return found == items.end() ? nullptr : &found->second;
}

const Value* Namespace::Find(std::string_view name) const {
  for (const auto& [held, value] : attributes) {
    if (held == name) return &value;
  }
  return nullptr;
}

// --- Python's operators on them
// ---------------------------------------------------------------------

absl::StatusOr<bool> Equals(const Value& a, const Value& b, Budget& budget) {
  RETURN_IF_ERROR(budget.Step());
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.as_float() == b.as_float() : a.as_int() == b.as_int();
  }
  if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
  if (a.is_big() && b.is_big()) return a.big_digits() == b.big_digits();
  if (a.is_list() && b.is_list()) {
    const auto &left = a.as_list(), &right = b.as_list();
    if (left.kind == ListKind::kLazy || left.kind == ListKind::kValues) return &left == &right;
    const bool same_kind = left.tuple() ? right.tuple() : left.kind == right.kind;
    if (left.items.size() != right.items.size() || !same_kind) return false;
    for (size_t i = 0; i < left.items.size(); ++i) {
      ASSIGN_OR_RETURN(const bool same, Equals(left.items[i], right.items[i], budget));
      if (!same) return false;
    }
    return true;
  }
  if (a.is_dict() && b.is_dict()) {
    const auto &left = a.as_dict(), &right = b.as_dict();
    if (left.items.size() != right.items.size()) return false;
    for (const auto& [key, value] : left.items) {
      const Value* other = right.Find(key);
      if (other == nullptr) return false;
      ASSIGN_OR_RETURN(const bool same, Equals(value, *other, budget));
      if (!same) return false;
    }
    return true;
  }
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

absl::StatusOr<int> Compare(const Value& a, const Value& b, Budget& budget) {
  RETURN_IF_ERROR(budget.Step());
  if (a.is_number() && b.is_number()) {
    if (!a.is_float() && !b.is_float()) {
      return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
    }
    const double left = a.as_float(), right = b.as_float();
    return left < right ? -1 : left > right ? 1 : 0;
  }
  // UTF-8 sorts as its scalars do.
  if (a.is_string() && b.is_string()) return a.as_string().compare(b.as_string());
  if (a.is_plain_list() && b.is_plain_list() && a.as_list().tuple() == b.as_list().tuple()) {
    const auto &left = a.as_list().items, &right = b.as_list().items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      // As Python does it: only the first items that differ need have an order.
      ASSIGN_OR_RETURN(const bool same, Equals(left[i], right[i], budget));
      if (!same) return Compare(left[i], right[i], budget);
    }
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return base::InvalidArgument(value->undefined_message());
  }
  return base::InvalidArgument(absl::StrCat("cannot order ", std::string(a.type_name()), " and ",
                                            std::string(b.type_name())));
}

absl::StatusOr<Text> ToText(const Value& value, Budget& budget) {
  if (value.is_string()) return value.as_text();
  if (value.is_undefined()) return Text();
  return ToRepr(value, budget);
}

absl::StatusOr<Text> ToRepr(const Value& value, Budget& budget) {
  Text out;
  RETURN_IF_ERROR(AppendRepr(value, budget, &out));
  return out;
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // Python writes exponents below 1e-4 and from 1e16 on.
  const double size = std::fabs(value);
  const bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  char digits[64];
  const auto end =
      std::to_chars(digits, digits + sizeof(digits), value,
                    exponent ? std::chars_format::scientific : std::chars_format::fixed);
  std::string text(digits, end.ptr);
  if (!exponent && text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace conclave::engine::jinja
