#include "engine/chat/jinja_format.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

constexpr int64_t kWidthMax = 10'000, kPrecisionMax = 1'000;

// What stands between % or : and the letter of the conversion.
struct Specification {
  std::string fill = " ";
  char align = '\0';  // < > ^ or =; \0 = as the type has it
  char sign = '-';    // - + or a space
  bool alternate = false;
  char grouping = '\0';  // , or _
  int64_t width = 0;
  int64_t precision = -1;
  char type = '\0';
};

absl::Status Bad(std::string_view what) {
  return base::InvalidArgument(absl::StrCat("format: ", std::string(what)));
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Digits at the front of `rest`, taken off it; `none` when there are none.
absl::StatusOr<int64_t> TakeNumber(std::string_view* rest, int64_t none, int64_t max) {
  if (rest->empty() || !IsDigit(rest->front())) return none;
  int64_t number = 0;
  while (!rest->empty() && IsDigit(rest->front())) {
    number = number * 10 + (rest->front() - '0');
    if (number > max) return Bad(absl::StrCat("width or precision above ", max));
    rest->remove_prefix(1);
  }
  return number;
}

std::string Grouped(const std::string& digits, char separator, size_t size) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % size == 0) out.push_back(separator);
    out.push_back(digits[i]);
  }
  return out;
}

// "" for what is no conversion of integers.
std::string IntDigits(uint64_t size, char type) {
  if (type == 'x') return absl::StrFormat("%x", size);
  if (type == 'X') return absl::StrFormat("%X", size);
  if (type == 'o') return absl::StrFormat("%o", size);
  if (type != 'b') return absl::StrCat(size);
  std::string bits;
  do {
    bits.insert(bits.begin(), static_cast<char>('0' + (size & 1)));
    size >>= 1;
  } while (size > 0);
  return bits;
}

absl::StatusOr<std::string> FloatDigits(double size, const Specification& spec) {
  const bool upper = spec.type == 'F' || spec.type == 'E' || spec.type == 'G';
  if (!std::isfinite(size)) {
    const std::string name = std::isnan(size) ? "nan" : "inf";
    return upper ? ToUpper(name) : name;
  }
  const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  switch (spec.type) {
    case 'f':
    case 'F':
      return absl::StrFormat("%.*f", precision, size);
    case 'e':
      return absl::StrFormat("%.*e", precision, size);
    case 'E':
      return absl::StrFormat("%.*E", precision, size);
    case 'g':
      return absl::StrFormat("%.*g", precision, size);
    case 'G':
      return absl::StrFormat("%.*G", precision, size);
    case '%':
      return absl::StrFormat("%.*f%%", precision, size * 100);
    default:
      if (spec.precision >= 0) return Bad("a precision of a float needs a type such as 'f'");
      return FloatText(size);
  }
}

// Sign, prefix and digits of a number, filled up to the width.
absl::StatusOr<Text> Number(Interpreter& in, const Value& value, const Specification& spec) {
  const bool as_float =
      value.is_float() || std::string_view("fFeEgG%").find(spec.type) != std::string_view::npos;
  std::string digits, sign, prefix;
  if (as_float) {
    const double number = value.as_float();
    ASSIGN_OR_RETURN(digits, FloatDigits(std::fabs(number), spec));
    if (std::signbit(number) && !std::isnan(number)) sign = "-";
  } else {
    const int64_t number = value.as_int();
    const uint64_t size =
        number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    digits = IntDigits(size, spec.type);
    if (number < 0) sign = "-";
    if (spec.alternate && std::string_view("xXob").find(spec.type) != std::string_view::npos) {
      prefix = {'0', spec.type};
    }
  }
  if (sign.empty() && spec.sign != '-') sign = spec.sign;
  if (spec.grouping != '\0') {
    if (spec.fill == "0" && spec.align == '=') return Bad("grouping with filling zeros");
    const size_t point = std::min(digits.find_first_of(".e%"), digits.size());
    const bool decimal =
        std::string_view("xXob").find(spec.type) == std::string_view::npos || spec.type == '\0';
    digits =
        Grouped(digits.substr(0, point), spec.grouping, decimal ? 3 : 4) + digits.substr(point);
  }
  const auto used = static_cast<int64_t>(sign.size() + prefix.size() + digits.size());
  const int64_t missing = std::max<int64_t>(spec.width - used, 0);
  RETURN_IF_ERROR(in.budget().String(digits.size() + static_cast<size_t>(missing) * 4));
  const int64_t left = spec.align == '<' || spec.align == '=' ? 0
                       : spec.align == '^'                    ? missing / 2
                                                              : missing;
  const int64_t middle = spec.align == '=' ? missing : 0;
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += spec.fill;
  out += sign + prefix;
  for (int64_t i = 0; i < middle; ++i) out += spec.fill;
  out += digits;
  for (int64_t i = left + middle; i < missing; ++i) out += spec.fill;
  return Text(std::move(out));
}

absl::StatusOr<Text> Filled(Interpreter& in, Text text, const Specification& spec) {
  if (spec.precision >= 0) text = text.Part(0, ByteOfCharacter(text.bytes, spec.precision));
  const int64_t missing = spec.width - CountCharacters(text.bytes);
  if (missing <= 0) return text;
  RETURN_IF_ERROR(in.budget().String(text.bytes.size() + static_cast<size_t>(missing) * 4));
  const int64_t left = spec.align == '>' ? missing : spec.align == '^' ? missing / 2 : 0;
  Text out;
  for (int64_t i = 0; i < left; ++i) out.Append(spec.fill);
  out.Append(text);
  for (int64_t i = left; i < missing; ++i) out.Append(spec.fill);
  return out;
}

// --- %
// ----------------------------------------------------------------------------------------------

// The values that the conversions of one text take, in order or by name.
class PercentArguments final {
 public:
  explicit PercentArguments(const Value& value) {
    if (value.is_list() && value.as_list().tuple()) {
      values_ = value.as_list().items;
      return;
    }
    if (value.is_dict()) names_ = value;
    values_.push_back(value);
    // What has items may be left over.
    optional_ = value.is_dict() || (value.is_list() && value.as_list().has_items());
  }

  absl::StatusOr<Value> Take() {
    if (next_ >= values_.size()) return Bad("not enough arguments");
    return values_[next_++];
  }
  absl::StatusOr<Value> Named(const std::string& name) {
    if (!names_.is_dict()) return Bad("a name needs a dict");
    const Value* found = names_.as_dict().Find(name);
    if (found == nullptr) return Bad(absl::StrCat("no argument '", name.substr(0, 64), "'"));
    optional_ = true;
    return *found;
  }
  absl::Status AllTaken() const {
    if (next_ < values_.size() && !optional_) return Bad("not all arguments used");
    return absl::OkStatus();
  }

 private:
  std::vector<Value> values_;
  Value names_;
  size_t next_ = 0;
  bool optional_ = false;
};

// %-05.1: flags, width and precision; `rest` is left at the letter.
absl::StatusOr<Specification> PercentSpecification(std::string_view* rest,
                                                   PercentArguments* arguments) {
  Specification spec;
  spec.align = '>';
  bool left = false;
  for (; !rest->empty() && std::string_view("-+ 0#").find(rest->front()) != std::string_view::npos;
       rest->remove_prefix(1)) {
    const char flag = rest->front();
    left = left || flag == '-';
    if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
    if (flag == '0') spec.fill = "0";
    if (flag == '#') spec.alternate = true;
  }
  if (rest->starts_with('*')) return Bad("'*' is not known here");
  ASSIGN_OR_RETURN(spec.width, TakeNumber(rest, 0, kWidthMax));
  if (rest->starts_with('.')) {
    rest->remove_prefix(1);
    ASSIGN_OR_RETURN(spec.precision, TakeNumber(rest, 0, kPrecisionMax));
  }
  if (left) {
    spec.align = '<';
    spec.fill = " ";
  } else if (spec.fill == "0") {
    spec.align = '=';
  }
  static_cast<void>(arguments);
  return spec;
}

absl::StatusOr<Text> PercentConversion(Interpreter& in, const Value& value, Specification spec,
                                       char letter) {
  if (letter == 's' || letter == 'r') {
    ASSIGN_OR_RETURN(Text shown,
                     letter == 's' ? ToText(value, in.budget()) : ToRepr(value, in.budget()));
    if (spec.align == '=') spec.align = '>';
    spec.fill = " ";
    return Filled(in, std::move(shown), spec);
  }
  if (std::string_view("diuxXofFeEgG").find(letter) == std::string_view::npos) {
    return Bad(absl::StrCat("unknown conversion '", std::string(1, letter), "'"));
  }
  if (!value.is_number()) return NeedsError("format", "a number", value);
  spec.type = std::string_view("diu").find(letter) == std::string_view::npos ? letter : 'd';
  if (spec.type != 'd') {
    const bool whole = spec.type == 'x' || spec.type == 'X' || spec.type == 'o';
    if (whole && (value.is_float() || spec.precision >= 0)) {
      return NeedsError("format", "an integer", value);
    }
    return Number(in, value, spec);
  }
  if (spec.precision >= 0) return Bad("a precision of an integer is not known here");
  if (!value.is_float()) return Number(in, value, spec);
  ASSIGN_OR_RETURN(const Value whole, in.ApplyFilter("int", value, {}));
  return Number(in, whole, spec);
}

// --- {}
// ---------------------------------------------------------------------------------------------

// [[fill]align][sign][#][0][width][grouping][.precision][type]
absl::StatusOr<Specification> BraceSpecification(std::string_view rest) {
  Specification spec;
  const auto is_align = [](std::string_view text, size_t at) {
    return at < text.size() && std::string_view("<>^=").find(text[at]) != std::string_view::npos;
  };
  const size_t first = rest.empty() ? 0 : DecodeUtf8(rest, 0).length;
  if (first > 0 && is_align(rest, first)) {
    spec.fill = rest.substr(0, first);
    spec.align = rest[first];
    rest.remove_prefix(first + 1);
  } else if (is_align(rest, 0)) {
    spec.align = rest.front();
    rest.remove_prefix(1);
  }
  const auto take = [&rest](std::string_view set) {
    const bool there = !rest.empty() && set.find(rest.front()) != std::string_view::npos;
    const char c = there ? rest.front() : '\0';
    if (there) rest.remove_prefix(1);
    return c;
  };
  if (const char sign = take("+- "); sign != '\0') spec.sign = sign;
  spec.alternate = take("#") != '\0';
  if (rest.starts_with('0')) {
    rest.remove_prefix(1);
    if (spec.align == '\0') {
      spec.fill = "0";
      spec.align = '=';
    }
  }
  ASSIGN_OR_RETURN(spec.width, TakeNumber(&rest, 0, kWidthMax));
  spec.grouping = take(",_");
  if (take(".") != '\0') {
    ASSIGN_OR_RETURN(spec.precision, TakeNumber(&rest, -1, kPrecisionMax));
    if (spec.precision < 0) return Bad("a precision has digits");
  }
  spec.type = take("bdoxXfFeEgG%s");
  if (!rest.empty())
    return Bad(absl::StrCat("bad specification '", std::string(rest.substr(0, 32)), "'"));
  return spec;
}

absl::StatusOr<Text> BraceConversion(Interpreter& in, const Value& value,
                                     const Specification& spec) {
  const bool number = value.is_number() && !(value.is_bool() && spec.type == '\0');
  if (number && spec.type != 's') {
    const bool whole = std::string_view("bdoxX").find(spec.type) != std::string_view::npos;
    if (spec.type != '\0' && whole && value.is_float()) return Bad("an integer is needed");
    if (spec.precision >= 0 && !value.is_float() && (whole || spec.type == '\0')) {
      return Bad("an integer has no precision");
    }
    return Number(in, value, spec);
  }
  if (!value.is_string() || (spec.type != '\0' && spec.type != 's')) {
    return NeedsError("format", "a value of the type in its specification", value);
  }
  if (spec.sign != '-' || spec.alternate || spec.grouping != '\0') {
    return Bad("a string has no sign or grouping");
  }
  if (spec.align == '=' && spec.fill != "0") return Bad("'=' is not for strings");
  return Filled(in, value.as_text(), spec);
}

// One {…}, without its braces.
absl::StatusOr<Text> Field(Interpreter& in, std::string_view field, const Arguments& arguments,
                           size_t* next) {
  if (field.find('{') != std::string_view::npos) return Bad("fields inside fields");
  const size_t colon = std::min(field.find(':'), field.size());
  std::string_view name = field.substr(0, colon);
  const std::string_view specification = field.substr(std::min(colon + 1, field.size()));
  char conversion = '\0';
  if (name.size() >= 2 && name[name.size() - 2] == '!') {
    conversion = name.back();
    name.remove_suffix(2);
    if (conversion != 'r' && conversion != 's') return Bad("unknown conversion");
  }
  if (name.find_first_of(".[!") != std::string_view::npos) {
    return Bad("attributes and items of an argument cannot be reached");
  }
  constexpr size_t kByName = ~size_t{0};
  Value value;
  if (name.empty() || std::all_of(name.begin(), name.end(), IsDigit)) {
    size_t index = 0;
    if (!name.empty() && *next != 0 && *next != kByName) return Bad("numbered and plain fields");
    if (name.empty()) {
      if (*next == kByName) return Bad("plain and numbered fields");
      index = (*next)++;
    } else {
      *next = kByName;
      index = name.size() < 6 ? std::stoul(std::string(name)) : kByName;
    }
    if (index >= arguments.positional.size()) return Bad("not enough arguments");
    value = arguments.positional[index];
  } else {
    const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& named) { return named.first == name; });
    if (found == arguments.named.end()) {
      return Bad(absl::StrCat("no argument for {", std::string(name.substr(0, 64)), "}"));
    }
    value = found->second;
  }
  if (conversion != '\0' || specification.empty()) {
    ASSIGN_OR_RETURN(Text shown,
                     conversion == 'r' ? ToRepr(value, in.budget()) : ToText(value, in.budget()));
    shown.markup = false;
    if (specification.empty()) return shown;
    value = Value(std::move(shown));
  }
  ASSIGN_OR_RETURN(const Specification spec, BraceSpecification(specification));
  return BraceConversion(in, value, spec);
}

}  // namespace

absl::StatusOr<Value> FormatPercent(Interpreter& in, const Text& text, const Value& value) {
  if (text.markup) return Bad("of a string marked safe is not known here");
  PercentArguments arguments(value);
  const std::string_view bytes = text.bytes;
  Text out;
  for (size_t at = 0; at < bytes.size();) {
    RETURN_IF_ERROR(in.budget().Step());
    const size_t percent = std::min(bytes.find('%', at), bytes.size());
    out.AppendPart(text, at, percent);
    if (percent == bytes.size()) break;
    std::string_view rest = bytes.substr(percent + 1);
    Value named;
    const bool by_name = rest.starts_with('(');
    if (by_name) {
      const size_t close = rest.find(')');
      if (close == std::string_view::npos) return Bad("'(' is not closed");
      ASSIGN_OR_RETURN(named, arguments.Named(std::string(rest.substr(1, close - 1))));
      rest.remove_prefix(close + 1);
    }
    ASSIGN_OR_RETURN(const Specification spec, PercentSpecification(&rest, &arguments));
    if (rest.empty()) return Bad("the text ends inside a conversion");
    const char letter = rest.front();
    at = static_cast<size_t>(rest.data() - bytes.data()) + 1;
    if (letter == '%') {
      out.Append("%");
      continue;
    }
    if (!by_name) {
      ASSIGN_OR_RETURN(named, arguments.Take());
    }
    ASSIGN_OR_RETURN(const Text shown, PercentConversion(in, named, spec, letter));
    out.Append(shown);
    if (out.bytes.size() > in.budget().limits().output_bytes_max) break;
  }
  RETURN_IF_ERROR(arguments.AllTaken());
  return in.MakeString(std::move(out));
}

absl::StatusOr<Value> FormatBraces(Interpreter& in, const Text& text, const Arguments& arguments) {
  if (text.markup) return Bad("of a string marked safe is not known here");
  const std::string_view bytes = text.bytes;
  Text out;
  size_t next = 0;
  for (size_t at = 0; at < bytes.size();) {
    RETURN_IF_ERROR(in.budget().Step());
    const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
    out.AppendPart(text, at, brace);
    if (brace == bytes.size()) break;
    if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
      out.AppendPart(text, brace, brace + 1);
      at = brace + 2;
      continue;
    }
    if (bytes[brace] == '}') return Bad("single '}'");
    const size_t end = bytes.find('}', brace);
    if (end == std::string_view::npos) return Bad("'{' is not closed");
    ASSIGN_OR_RETURN(const Text shown,
                     Field(in, bytes.substr(brace + 1, end - brace - 1), arguments, &next));
    out.Append(shown);
    at = end + 1;
    if (out.bytes.size() > in.budget().limits().output_bytes_max) break;
  }
  return in.MakeString(std::move(out));
}

}  // namespace conclave::engine::jinja
