// Filters on strings and numbers (jinja_library.h).
#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/strings.h"
#include "engine/chat/jinja_format.h"
#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text.h"
#include "engine/chat/jinja_text_operations.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

using Result = absl::StatusOr<Value>;

template <std::string (*kConvert)(std::string_view)>
Result Convert(Interpreter& in, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("filter", arguments, {}).status());
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  Text made = Text::Tainting(kConvert(text.bytes), text.tainted());
  made.markup = text.markup;
  return in.MakeString(std::move(made));
}

// Jinja's own idea of a title: words begin after spaces, hyphens and opening brackets.
std::string TitleWords(std::string_view text) {
  std::string out;
  std::string word;
  const auto finish = [&] {
    out += Capitalize(word);
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    const std::string_view character = text.substr(at, scalar.length);
    if (IsPythonSpace(scalar.value) ||
        std::string_view("-({[<").find(character) != std::string::npos) {
      finish();
      out += character;
    } else {
      word += character;
    }
    at += scalar.length;
  }
  finish();
  return out;
}

Result Title(Interpreter& in, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("title", arguments, {}).status());
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  return in.MakeString(Text::Tainting(TitleWords(text.bytes), text.tainted()));
}

Result Trim(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("trim", arguments, {"chars"}));
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  if (!bound.given(0) || bound[0].is_none()) {
    return in.MakeString(PartOf(text, StripRight(StripLeft(text.bytes))));
  }
  ASSIGN_OR_RETURN(const Text set, bound.TextAt(0));
  return in.MakeString(PartOf(text, StripRight(StripLeft(text.bytes, set.bytes), set.bytes)));
}

Result AsString(Interpreter& in, const Value& input, const Arguments&) {
  if (input.is_string()) return input;
  ASSIGN_OR_RETURN(Text text, ToText(input, in.budget()));
  return in.MakeString(std::move(text));
}

Result ReplaceFilter(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("replace", arguments, {"old", "new", "count"}));
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  ASSIGN_OR_RETURN(const Text old, ToText(bound[0], in.budget()));
  ASSIGN_OR_RETURN(const Text with, ToText(bound[1], in.budget()));
  ASSIGN_OR_RETURN(const int64_t count, bound.IntAt(2, -1));
  ASSIGN_OR_RETURN(Text replaced, Replace(in, text, old, with, count));
  return Value(std::move(replaced));
}

Result Indent(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("indent", arguments, {"width", "first", "blank"}));
  if (!input.is_string()) return NeedsError("indent", "a string", input);
  const Text& text = input.as_text();
  Text indention;
  if (bound[0].is_string()) {
    indention = bound[0].as_text();
  } else {
    ASSIGN_OR_RETURN(const int64_t width, bound.IntAt(0, 4));
    if (width > 1000) return base::InvalidArgument("indent(): width must be at most 1000");
    indention.Append(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '));
  }
  Text source = text;
  source.Append("\n");  // so that an empty last line is a line, as Jinja has it
  ASSIGN_OR_RETURN(const std::vector<Value> lines, SplitLines(in, source, false));
  const bool blank = bound.TruthAt(2, false);
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.Append("\n");
    const bool wanted = i == 0 ? bound.TruthAt(1, false) : blank || !lines[i].as_string().empty();
    if (wanted) out.Append(indention);
    out.Append(lines[i].as_text());
    if (out.bytes.size() > in.budget().limits().output_bytes_max) break;
  }
  return in.MakeString(std::move(out));
}

Result ToJsonFilter(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(
      const Bound bound,
      Bound::Bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ascii = bound.TruthAt(0, false);
  style.sort_keys = bound.TruthAt(3, false);
  if (bound.given(1) && !bound[1].is_none()) {
    ASSIGN_OR_RETURN(const int64_t indent, bound.IntAt(1, 0));
    if (indent > 100) return base::InvalidArgument("tojson(): indent must be at most 100");
    style.indent = static_cast<int>(std::max<int64_t>(indent, 0));
    style.item_separator = ",";
  }
  if (bound.given(2) && !bound[2].is_none()) {
    if (!bound[2].is_list() || bound[2].as_list().items.size() != 2 ||
        !bound[2].as_list().items[0].is_string() || !bound[2].as_list().items[1].is_string()) {
      return NeedsError("tojson", "two strings as separators", bound[2]);
    }
    style.item_separator = bound[2].as_list().items[0].as_string();
    style.key_separator = bound[2].as_list().items[1].as_string();
  }
  ASSIGN_OR_RETURN(Text json, ToJson(in, input, style));
  return in.MakeString(std::move(json));
}

Result AsInt(Interpreter&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("int", arguments, {"default", "base"}));
  const Value fallback = bound.given(0) ? bound[0] : Value(int64_t{0});
  if (input.is_undefined()) return base::InvalidArgument(input.undefined_message());
  if (input.is_int() || input.is_bool()) return Value(input.as_int());
  if (input.is_big()) return input;
  constexpr double kIntMax = 9.2e18;
  double number = 0;
  if (input.is_float()) {
    number = input.as_float();
  } else if (input.is_string()) {
    ASSIGN_OR_RETURN(const int64_t radix, bound.IntAt(1, 10));
    const std::string text(StripRight(StripLeft(input.as_string())));
    int64_t integer = 0;
    if (radix == 10 && absl::SimpleAtoi(text, &integer)) return Value(integer);
    if (radix == 16 && absl::SimpleHexAtoi(text, &integer)) return Value(integer);
    if (!absl::SimpleAtod(text, &number)) return fallback;
  } else {
    return fallback;
  }
  if (std::isnan(number) || (std::isinf(number) && input.is_string())) return fallback;
  if (std::fabs(number) > kIntMax) return base::InvalidArgument("integer out of range");
  return Value(static_cast<int64_t>(number));
}

Result AsFloat(Interpreter&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("float", arguments, {"default"}));
  if (input.is_undefined()) return base::InvalidArgument(input.undefined_message());
  if (input.is_number()) return Value(input.as_float());
  double number = 0;
  if (input.is_string() && absl::SimpleAtod(base::Abs(input.as_string()), &number)) {
    return Value(number);
  }
  return bound.given(0) ? bound[0] : Value(0.0);
}

Result Abs(Interpreter&, const Value& input, const Arguments&) {
  if (input.is_float()) return Value(std::fabs(input.as_float()));
  if (!input.is_number()) return NeedsError("abs", "a number", input);
  return input.as_int() < 0 ? Negate(input) : Value(input.as_int());
}

// To a multiple of 10^digits, halves to the even one.
Value RoundInteger(int64_t value, int64_t digits) {
  if (digits > 18) return Value(int64_t{0});
  int64_t unit = 1;
  for (int64_t i = 0; i < digits; ++i) unit *= 10;
  const int64_t rest = value % unit, down = value - rest;
  const int64_t size = rest < 0 ? -rest : rest, towards = rest < 0 ? -unit : unit;
  const bool odd = (down / unit) % 2 != 0;
  const bool away = size > unit - size || (size == unit - size && odd);
  return Value(away ? down + towards : down);
}

Result Round(Interpreter&, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("round", arguments, {"precision", "method"}));
  if (!input.is_number()) return NeedsError("round", "a number", input);
  ASSIGN_OR_RETURN(const int64_t precision, bound.IntAt(0, 0));
  ASSIGN_OR_RETURN(const Text method, bound.TextAt(1, "common"));
  if (precision < -300 || precision > 300) {
    return base::InvalidArgument("round(): precision must be between -300 and 300");
  }
  if (!input.is_float() && precision < 0 && method.bytes == "common") {
    return RoundInteger(input.as_int(), -precision);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = input.as_float() * scale;
  if (method.bytes == "ceil") return Value((std::ceil(scaled) + 0.0) / scale);
  if (method.bytes == "floor") return Value((std::floor(scaled) + 0.0) / scale);
  if (method.bytes != "common") return base::InvalidArgument("round(): unknown method");
  if (!input.is_float() && precision >= 0) return Value(input.as_int());
  if (precision == 0) return Value(std::nearbyint(input.as_float()));
  // Python rounds the decimal that the number is, not the product with a power of ten.
  if (precision > 0 && precision < 18) {
    double rounded = 0;
    const std::string text = absl::StrFormat("%.*f", static_cast<int>(precision), input.as_float());
    if (absl::SimpleAtod(text, &rounded)) return Value(rounded);
  }
  return Value(std::nearbyint(scaled) / scale);
}

// Python's %, with the filter's arguments.
Result Format(Interpreter& in, const Value& input, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    return base::InvalidArgument("format: takes values in order or by name, not both");
  }
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  if (arguments.named.empty()) {
    return FormatPercent(in, text, Value::ListOf(arguments.positional, ListKind::kTuple));
  }
  Dict names;
  for (const auto& [name, value] : arguments.named) names.Set(Value::Own(name), value);
  return FormatPercent(in, text, Value(std::make_shared<const Dict>(std::move(names))));
}

Result Center(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("center", arguments, {"width"}));
  ASSIGN_OR_RETURN(const Value text, AsString(in, input, {}));
  ASSIGN_OR_RETURN(const int64_t width, bound.IntAt(0, 80));
  ASSIGN_OR_RETURN(const Value method, GetAttribute(in, text, "center"));
  return in.Call(method, {.positional = {Value(width)}, .named = {}});
}

Result Truncate(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound,
                   Bound::Bind("truncate", arguments, {"length", "killwords", "end", "leeway"}));
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  ASSIGN_OR_RETURN(const int64_t length, bound.IntAt(0, 255));
  ASSIGN_OR_RETURN(const Text end, bound.TextAt(2, "..."));
  ASSIGN_OR_RETURN(const int64_t leeway, bound.IntAt(3, 5));
  const int64_t end_length = CountCharacters(end.bytes);
  if (length < end_length) return base::InvalidArgument("truncate(): length is below that of end");
  if (CountCharacters(text.bytes) <= length + leeway) {
    return input.is_undefined() ? Result(input) : in.MakeString(text);
  }
  size_t cut = ByteOfCharacter(text.bytes, length - end_length);
  if (!bound.TruthAt(1, false)) {
    const size_t space = text.bytes.substr(0, cut).rfind(' ');
    if (space != std::string::npos) cut = space;
  }
  Text out = text.Part(0, cut);
  out.Append(end);
  return in.MakeString(std::move(out));
}

Result WordCount(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.bytes.size();) {
    const DecodedScalar scalar = DecodeUtf8(text.bytes, at);
    const Category c = CategoryOf(scalar.value);
    const bool part = IsLetter(c) || IsNumber(c) || scalar.value == '_';
    words += part && !inside ? 1 : 0;
    inside = part;
    at += scalar.length;
  }
  return Value(words);
}

struct Row {
  std::string_view name;
  FilterFunction filter;
};
constexpr Row kFilters[] = {
    {"abs", Abs},
    {"capitalize", Convert<Capitalize>},
    {"center", Center},
    {"float", AsFloat},
    {"format", Format},
    {"indent", Indent},
    {"int", AsInt},
    {"lower", Convert<ToLower>},
    {"replace", ReplaceFilter},
    {"round", Round},
    {"string", AsString},
    {"title", Title},
    {"tojson", ToJsonFilter},
    {"trim", Trim},
    {"truncate", Truncate},
    {"upper", Convert<ToUpper>},
    {"wordcount", WordCount},
};

}  // namespace

FilterFunction FindTextFilter(std::string_view name) {
  const Row* row = std::find_if(std::begin(kFilters), std::end(kFilters),
                                [&](const Row& candidate) { return candidate.name == name; });
  return row == std::end(kFilters) ? nullptr : row->filter;
}

}  // namespace conclave::engine::jinja
