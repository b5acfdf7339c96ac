// Operators, attributes, items and slices (jinja_library.h).
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/chat/jinja_format.h"
#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text.h"
#include "engine/chat/jinja_text_operations.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

absl::Status Overflow() { return base::InvalidArgument("integer out of range"); }

absl::Status Unsupported(std::string_view op, const Value& left, const Value& right) {
  for (const Value* value : {&left, &right}) {
    if (value->is_undefined()) return base::InvalidArgument(value->undefined_message());
  }
  if (left.is_big() || right.is_big()) return Overflow();
  return base::InvalidArgument(absl::StrCat("cannot compute ", std::string(left.type_name()), " ",
                                            std::string(op), " ", std::string(right.type_name())));
}

absl::StatusOr<Value> Checked(bool overflowed, int64_t result) {
  if (overflowed) return Overflow();
  return Value(result);
}

// Python rounds towards minus infinity; the remainder has the divisor's sign.
absl::StatusOr<Value> IntDivide(std::string_view op, int64_t a, int64_t b) {
  if (b == 0) return base::InvalidArgument("division by zero");
  if (a == std::numeric_limits<int64_t>::min() && b == -1) return Overflow();
  const int64_t quotient = a / b, remainder = a % b;
  const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
  if (op == "//") return Value(adjust ? quotient - 1 : quotient);
  return Value(adjust ? remainder + b : remainder);
}

absl::StatusOr<Value> FloatPower(double a, double b) {
  if (a == 0 && b < 0) return base::InvalidArgument("zero to a negative power");
  const double power = std::pow(a, b);
  if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) {
    return base::InvalidArgument("the power is a complex number");
  }
  if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) {
    return base::InvalidArgument("the power is out of range");
  }
  return Value(power);
}

absl::StatusOr<Value> IntPower(int64_t base_value, int64_t exponent) {
  if (exponent < 0) {
    return FloatPower(static_cast<double>(base_value), static_cast<double>(exponent));
  }
  int64_t result = 1;
  // Beyond 64 squarings only -1, 0 and 1 stay in range, and those repeat.
  if (base_value >= -1 && base_value <= 1) {
    return Value(base_value == 0   ? int64_t{exponent == 0}
                 : base_value == 1 ? int64_t{1}
                                   : int64_t{exponent % 2 == 0 ? 1 : -1});
  }
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base_value, &result)) return Overflow();
  }
  return Value(result);
}

absl::StatusOr<Value> IntArithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+") return Checked(__builtin_add_overflow(a, b, &result), result);
  if (op == "-") return Checked(__builtin_sub_overflow(a, b, &result), result);
  if (op == "*") return Checked(__builtin_mul_overflow(a, b, &result), result);
  if (op == "**") return IntPower(a, b);
  if (op == "/") {
    if (b == 0) return base::InvalidArgument("division by zero");
    // Rounded once, as Python does it; a double could not hold every int64.
    return Value(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
  }
  return IntDivide(op, a, b);
}

// a // b as Python rounds it: a - remainder is a multiple of b, where a / b may not be.
double FloatQuotient(double a, double b, double remainder) {
  double quotient = (a - remainder) / b;
  if (remainder != 0 && (remainder < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

absl::StatusOr<Value> FloatArithmetic(std::string_view op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**") return FloatPower(a, b);
  if (b == 0) return base::InvalidArgument("division by zero");
  if (op == "/") return Value(a / b);
  const double remainder = std::fmod(a, b);
  if (op == "//") return Value(FloatQuotient(a, b, remainder));
  if (remainder == 0) return Value(std::copysign(0.0, b));
  return Value((remainder < 0) != (b < 0) ? remainder + b : remainder);
}

// Of what is made from a list or a tuple.
ListKind KindOf(const List& list) { return list.tuple() ? ListKind::kTuple : ListKind::kList; }

absl::StatusOr<Value> Repeat(Interpreter& in, const Value& value, int64_t count) {
  const size_t times = static_cast<size_t>(std::max<int64_t>(count, 0));
  const size_t size = value.is_string() ? value.as_string().size() : value.as_list().items.size();
  if (size != 0 && times > in.budget().limits().output_bytes_max / size) {
    return base::InvalidArgument("repeats beyond the limit of one value");
  }
  if (value.is_string()) {
    RETURN_IF_ERROR(in.budget().String(size * times));
    if (size == 0 || times == 0) return Value::Own("");
    Text text = value.as_text();
    for (size_t have = 1; have < times;) {  // by doubling
      const size_t more = std::min(have, times - have);
      text.Append(text.Part(0, more * size));
      have += more;
    }
    return Value(std::move(text));
  }
  RETURN_IF_ERROR(in.budget().Items(size * times));
  std::vector<Value> items;
  for (size_t i = 0; i < times; ++i) {
    items.insert(items.end(), value.as_list().items.begin(), value.as_list().items.end());
  }
  return in.MakeList(std::move(items), KindOf(value.as_list()));
}

absl::StatusOr<Value> Concatenate(Interpreter& in, const Text& left, const Text& right) {
  RETURN_IF_ERROR(in.budget().String(left.bytes.size() + right.bytes.size()));
  Text text = left;
  text.Append(right);
  return Value(std::move(text));
}

// left + right: what is marked up takes the other escaped.
absl::StatusOr<Value> AddText(Interpreter& in, const Text& left, const Text& right) {
  if (left.markup == right.markup) return Concatenate(in, left, right);
  Text marked = left.markup ? left : Escaped(left);
  marked.markup = true;
  return Concatenate(in, marked, right.markup ? right : Escaped(right));
}

absl::Status NoAttribute(std::string_view name) {
  return base::InvalidArgument(
      absl::StrCat("attribute '", std::string(name.substr(0, 64)), "' is not accessible"));
}

Value Missing(const Value& value, std::string_view name) {
  std::string type(value.type_name());
  if (value.is_none()) type = "None";
  return Value::UndefinedBecause(
      absl::StrCat("'", type, " object' has no attribute '", std::string(name.substr(0, 64)), "'"));
}

absl::StatusOr<Value> LoopAttribute(const std::shared_ptr<const Loop>& loop,
                                    std::string_view name) {
  const auto index0 = static_cast<int64_t>(loop->index0);
  const auto length = static_cast<int64_t>(loop->items->size());
  if (name == "index") return Value(index0 + 1);
  if (name == "index0") return Value(index0);
  if (name == "revindex") return Value(length - index0);
  if (name == "revindex0") return Value(length - index0 - 1);
  if (name == "first") return Value(index0 == 0);
  if (name == "last") return Value(index0 + 1 == length);
  if (name == "length") return Value(length);
  if (name == "depth") return Value(loop->depth0 + 1);
  if (name == "depth0") return Value(loop->depth0);
  if (name == "previtem") {
    if (index0 == 0) return Value::UndefinedBecause("there is no previous item");
    return (*loop->items)[loop->index0 - 1];
  }
  if (name == "nextitem") {
    if (index0 + 1 == length) return Value::UndefinedBecause("there is no next item");
    return (*loop->items)[loop->index0 + 1];
  }
  if (name == "cycle") {
    return Value::Function(
        "cycle",
        [index = loop->index0](Interpreter&, const Arguments& arguments) -> absl::StatusOr<Value> {
          if (arguments.positional.empty())
            return base::InvalidArgument("loop.cycle() without items");
          return arguments.positional[index % arguments.positional.size()];
        });
  }
  if (name == "changed") {
    return Value::Function(
        "changed",
        [last = loop->last_changed](Interpreter& inner,
                                    const Arguments& arguments) -> absl::StatusOr<Value> {
          bool same = last->size() == arguments.positional.size() && !last->empty();
          for (size_t i = 0; same && i < last->size(); ++i) {
            ASSIGN_OR_RETURN(same, Equals((*last)[i], arguments.positional[i], inner.budget()));
          }
          // Keeping a function or a namespace here could close a circle.
          ASSIGN_OR_RETURN(const Value kept, inner.MakeList(arguments.positional));
          *last = kept.as_list().items;
          return Value(!same);
        });
  }
  return Value::UndefinedBecause(absl::StrCat("loop has no attribute '", std::string(name), "'"));
}

}  // namespace

absl::StatusOr<Value> Binary(Interpreter& in, std::string_view op, const Value& left,
                             const Value& right) {
  if (op == "~") {
    ASSIGN_OR_RETURN(Text a, ToText(left, in.budget()));
    a.markup = false;
    ASSIGN_OR_RETURN(const Text b, ToText(right, in.budget()));
    return Concatenate(in, a, b);
  }
  if (left.is_number() && right.is_number()) {
    if (left.is_float() || right.is_float()) {
      return FloatArithmetic(op, left.as_float(), right.as_float());
    }
    return IntArithmetic(op, left.as_int(), right.as_int());
  }
  if (op == "+" && left.is_string() && right.is_string()) {
    return AddText(in, left.as_text(), right.as_text());
  }
  if (op == "+" && left.is_plain_list() && right.is_plain_list() &&
      left.as_list().tuple() == right.as_list().tuple()) {
    RETURN_IF_ERROR(in.budget().Items(left.as_list().items.size()));
    std::vector<Value> items = left.as_list().items;
    items.insert(items.end(), right.as_list().items.begin(), right.as_list().items.end());
    return in.MakeList(std::move(items), KindOf(left.as_list()));
  }
  const auto repeats = [](const Value& value, const Value& count) {
    return (value.is_string() || value.is_plain_list()) && (count.is_int() || count.is_bool());
  };
  if (op == "*" && repeats(left, right)) return Repeat(in, left, right.as_int());
  if (op == "*" && repeats(right, left)) return Repeat(in, right, left.as_int());
  if (op == "%" && left.is_string()) {
    return FormatPercent(in, left.as_text(), right);
  }
  return Unsupported(op, left, right);
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (value.is_float()) return Value(-value.as_float());
  if (value.is_big()) {
    const std::string& digits = value.big_digits();
    return Value::Integer(digits.starts_with('-') ? digits.substr(1) : "-" + digits);
  }
  if (!value.is_number()) return NeedsError("-", "a number", value);
  if (value.as_int() == std::numeric_limits<int64_t>::min()) return Overflow();
  return Value(-value.as_int());
}

absl::StatusOr<bool> IsIn(Interpreter& in, const Value& item, const Value& container) {
  if (container.is_string()) {
    if (!item.is_string()) return NeedsError("in", "a string to look for in a string", item);
    RETURN_IF_ERROR(in.budget().Bytes(container.as_string().size()));
    return container.as_string().find(item.as_string()) != std::string_view::npos;
  }
  if (container.is_dict()) return container.as_dict().Find(item) != nullptr;
  if (container.is_list()) {
    ASSIGN_OR_RETURN(const std::vector<Value> items, in.Iterate(container));
    for (const Value& held : items) {
      ASSIGN_OR_RETURN(const bool same, Equals(held, item, in.budget()));
      if (same) return true;
    }
    return false;
  }
  if (container.is_undefined()) return false;
  return base::InvalidArgument(
      absl::StrCat("'", std::string(container.type_name()), "' object is not iterable"));
}

absl::StatusOr<Value> GetAttribute(Interpreter&, const Value& value, std::string_view name) {
  if (value.is_undefined()) return base::InvalidArgument(value.undefined_message());
  if (name.starts_with('_')) return NoAttribute(name);
  if (const auto space = value.as_namespace(); space != nullptr) {
    const Value* found = space->Find(name);
    return found == nullptr ? Missing(value, name) : *found;
  }
  if (const auto loop = value.as_loop(); loop != nullptr) return LoopAttribute(loop, name);
  if (const auto method = FindMethod(value, name)) return *method;
  if (value.is_dict()) {
    if (const Value* found = value.as_dict().Find(name)) return *found;
  }
  return Missing(value, name);
}

absl::StatusOr<Value> GetItem(Interpreter& in, const Value& value, const Value& key) {
  if (value.is_undefined()) return base::InvalidArgument(value.undefined_message());
  if (value.is_dict()) {
    if (const Value* found = value.as_dict().Find(key)) return *found;
  }
  const bool has_items = value.is_string() || (value.is_list() && value.as_list().has_items());
  if (has_items && (key.is_int() || key.is_bool())) {
    const bool list = value.is_list();
    if (!list) {
      RETURN_IF_ERROR(in.budget().Bytes(value.as_string().size()));
    }
    const int64_t size = list ? static_cast<int64_t>(value.as_list().items.size())
                              : CountCharacters(value.as_string());
    const int64_t index = key.as_int() < 0 ? key.as_int() + size : key.as_int();
    if (index < 0 || index >= size) {
      return Value::UndefinedBecause(
          absl::StrCat(std::string(value.type_name()), " has no element ", key.as_int()));
    }
    if (list) return value.as_list().items[static_cast<size_t>(index)];
    const std::string_view text = value.as_string();
    const size_t begin = ByteOfCharacter(text, index);
    return in.MakeString(value.as_text().Part(begin, begin + DecodeUtf8(text, begin).length));
  }
  if (key.is_string()) {
    if (key.as_string().starts_with('_')) return NoAttribute(key.as_string());
    if (const auto space = value.as_namespace(); space != nullptr) {
      const Value* found = space->Find(key.as_string());
      return found == nullptr ? Missing(value, key.as_string()) : *found;
    }
    const auto method = FindMethod(value, key.as_string());
    return method.has_value() ? *method : Missing(value, key.as_string());
  }
  ASSIGN_OR_RETURN(const Text shown, ToText(key, in.budget()));
  return Missing(value, shown.bytes);
}

absl::StatusOr<Value> GetSlice(Interpreter& in, const Value& value, const Value& start,
                               const Value& stop, const Value& step) {
  if (value.is_undefined()) return base::InvalidArgument(value.undefined_message());
  if (!value.is_string() && !(value.is_list() && value.as_list().has_items()))
    return NeedsError("a slice", "a string or list", value);
  for (const Value* bound : {&start, &stop, &step}) {
    const bool absent = bound->is_undefined() || bound->is_none();
    if (!absent && !bound->is_int() && !bound->is_bool()) {
      return NeedsError("a slice", "integers as bounds", *bound);
    }
  }
  const auto given = [](const Value& bound) { return !bound.is_undefined() && !bound.is_none(); };
  const int64_t by = given(step) ? step.as_int() : 1;
  if (by == 0) return base::InvalidArgument("slice step cannot be zero");
  const int64_t size = value.is_list() ? static_cast<int64_t>(value.as_list().items.size())
                                       : CountCharacters(value.as_string());
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto place = [&](const Value& bound, int64_t fallback) {
    if (!given(bound)) return fallback;
    const int64_t index = bound.as_int() < 0 ? bound.as_int() + size : bound.as_int();
    return std::clamp(index, low, high);
  };
  const int64_t from = place(start, by > 0 ? 0 : size - 1);
  const int64_t to = place(stop, by > 0 ? size : -1);
  if (value.is_string() && by == 1) {
    const std::string_view text = value.as_string();
    RETURN_IF_ERROR(in.budget().Bytes(text.size()));
    const size_t begin = ByteOfCharacter(text, from);
    const size_t length = from < to ? ByteOfCharacter(text.substr(begin), to - from) : 0;
    return in.MakeString(value.as_text().Part(begin, begin + length));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, in.Iterate(value));
  std::vector<Value> picked;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    picked.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (value.is_list()) {
    const bool range = value.as_list().kind == ListKind::kRange;
    return in.MakeList(std::move(picked), range ? ListKind::kRange : KindOf(value.as_list()));
  }
  Text text;
  text.markup = value.as_text().markup;
  for (const Value& character : picked) text.Append(character.as_text());
  return in.MakeString(std::move(text));
}

absl::StatusOr<Value> GetPath(Interpreter& in, const Value& value, const Value& path,
                              const Value& fallback) {
  if (path.is_int()) return GetItem(in, value, path);
  if (!path.is_string()) return NeedsError("attribute", "a string", path);
  Value at = value;
  std::string_view rest = path.as_string();
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const bool number = absl::SimpleAtoi(base::Abs(part), &index) && index >= 0;
    // As attributes of the template, but items come first: "items" of a dict is its entry.
    const Value key = number ? Value(index) : Value::Own(std::string(part));
    ASSIGN_OR_RETURN(at, GetItem(in, at, key));
    if (at.is_undefined() && !fallback.is_undefined()) at = fallback;
    if (dot == std::string_view::npos) return at;
    rest.remove_prefix(dot + 1);
  }
}

absl::Status SetAttribute(Namespace& space, std::string_view name, const Value& value) {
  if (name.starts_with('_')) return NoAttribute(name);
  RETURN_IF_ERROR(CheckStorable(value));
  for (auto& [held, old] : space.attributes) {
    if (held == name) {
      old = value;
      return absl::OkStatus();
    }
  }
  space.attributes.emplace_back(std::string(name), value);
  return absl::OkStatus();
}

absl::Status CheckStorable(const Value& value) {
  if (value.depth() >= kValueDepthMax) return base::InvalidArgument("value nests too deeply");
  const bool plain = value.as_namespace() == nullptr && value.as_callable() == nullptr &&
                     value.as_loop() == nullptr;
  return plain ? absl::OkStatus() : NeedsError("a container", "plain values", value);
}

absl::StatusOr<std::vector<Value>> CharactersOf(Interpreter& in, const Text& text) {
  RETURN_IF_ERROR(in.budget().Items(static_cast<size_t>(CountCharacters(text.bytes))));
  std::vector<Value> characters;
  for (size_t at = 0; at < text.bytes.size();) {
    const size_t length = DecodeUtf8(text.bytes, at).length;
    ASSIGN_OR_RETURN(Value character, in.MakeString(text.Part(at, at + length)));
    characters.push_back(std::move(character));
    at += length;
  }
  return characters;
}

}  // namespace conclave::engine::jinja
