#include "engine/chat/go_functions.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/chat/go_eval.h"
#include "engine/chat/go_print.h"
#include "engine/chat/go_strconv.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::gotmpl {
namespace {

using Arguments = std::span<const Value>;

absl::Status Fail(std::string what) { return base::InvalidArgument(std::move(what)); }

absl::StatusOr<Value> Not(Interpreter&, Arguments of) { return Value(!of[0].truthy()); }

// ---- comparison

enum class Basic { kNone, kBool, kInt, kFloat, kString };

Basic BasicOf(const Value& value) {
  if (value.is_bool()) return Basic::kBool;
  if (value.is_int()) return Basic::kInt;
  if (value.is_float()) return Basic::kFloat;
  return value.is_string() ? Basic::kString : Basic::kNone;
}

bool IsNil(const Value& value) {
  return value.is_nothing() || value.is_nil_pointer() || (value.is_list() && value.as_list().nil) ||
         (value.is_map() && value.as_map().nil);
}

absl::StatusOr<bool> AreEqual(Interpreter& in, const Value& a, const Value& b) {
  const Basic kind = BasicOf(a);
  if (kind != BasicOf(b)) {
    if (a.is_nothing() || b.is_nothing()) return false;
    return Fail("incompatible types for comparison");
  }
  switch (kind) {
    case Basic::kBool:
      return a.as_bool() == b.as_bool();
    case Basic::kInt:
      return a.as_int() == b.as_int();
    case Basic::kFloat:
      return a.as_float() == b.as_float();
    case Basic::kString:
      RETURN_IF_ERROR(
          in.budget().Bytes(std::min(a.as_text().bytes.size(), b.as_text().bytes.size())));
      return a.as_text().bytes == b.as_text().bytes;
    case Basic::kNone:
      break;
  }
  if (IsNil(a) || IsNil(b)) return IsNil(a) == IsNil(b);
  if (a.is_struct() && b.is_struct() && a.as_struct().pointer && b.as_struct().pointer) {
    return &a.as_struct() == &b.as_struct();
  }
  return Fail(absl::StrCat("uncomparable type ", a.type_name()));
}

absl::StatusOr<Value> Eq(Interpreter& in, Arguments of) {
  if (of.size() < 2) return Fail("missing argument for comparison");
  for (const Value& other : of.subspan(1)) {
    ASSIGN_OR_RETURN(const bool equal, AreEqual(in, of[0], other));
    if (equal) return Value(true);
  }
  return Value(false);
}

absl::StatusOr<Value> Ne(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(const bool equal, AreEqual(in, of[0], of[1]));
  return Value(!equal);
}

absl::StatusOr<bool> IsLess(Interpreter& in, const Value& a, const Value& b) {
  const Basic kind = BasicOf(a);
  if (kind == Basic::kNone || BasicOf(b) == Basic::kNone) {
    return Fail("invalid type for comparison");
  }
  if (kind != BasicOf(b)) return Fail("incompatible types for comparison");
  switch (kind) {
    case Basic::kInt:
      return a.as_int() < b.as_int();
    case Basic::kFloat:
      return a.as_float() < b.as_float();
    case Basic::kString:
      RETURN_IF_ERROR(
          in.budget().Bytes(std::min(a.as_text().bytes.size(), b.as_text().bytes.size())));
      return a.as_text().bytes < b.as_text().bytes;
    default:
      return Fail("invalid type for comparison");
  }
}

absl::StatusOr<Value> Lt(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(const bool less, IsLess(in, of[0], of[1]));
  return Value(less);
}

absl::StatusOr<Value> Le(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(const bool less, IsLess(in, of[0], of[1]));
  if (less) return Value(true);
  ASSIGN_OR_RETURN(const bool equal, AreEqual(in, of[0], of[1]));
  return Value(equal);
}

absl::StatusOr<Value> Gt(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(const Value not_greater, Le(in, of));
  return Value(!not_greater.as_bool());
}

absl::StatusOr<Value> Ge(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(const bool less, IsLess(in, of[0], of[1]));
  return Value(!less);
}

// ---- parts

absl::StatusOr<Value> Len(Interpreter&, Arguments of) {
  const Value& value = of[0];
  size_t size = 0;
  if (value.is_string()) {
    size = value.as_text().bytes.size();
  } else if (value.is_list()) {
    size = value.as_list().values().size();
  } else if (value.is_map()) {
    size = value.as_map().items.size();
  } else {
    return Fail(
        absl::StrCat("len of ", value.is_nothing() ? "nil pointer" : "type " + value.type_name()));
  }
  return Value(static_cast<int64_t>(size));
}

absl::StatusOr<size_t> IndexOf(const Value& index, size_t end) {
  if (!index.is_int()) {
    return Fail(index.is_nothing() ? "cannot index slice/array with nil"
                                   : "cannot index slice/array with type " + index.type_name());
  }
  if (index.as_int() < 0 || static_cast<uint64_t>(index.as_int()) > end) {
    return Fail(absl::StrCat("index out of range: ", index.as_int()));
  }
  return static_cast<size_t>(index.as_int());
}

absl::StatusOr<Value> IndexOnce(const Value& of, const Value& index) {
  if (of.is_map()) {
    if (!index.is_string()) {
      return Fail(absl::StrCat("value has type ", index.type_name(), "; should be string"));
    }
    const Map& map = of.as_map();
    if (const Value* const item = map.Find(index.as_text().bytes)) return *item;
    return map.absent == nullptr ? Value::Nil() : *map.absent;
  }
  if (!of.is_list() && !of.is_string()) {
    return Fail(of.is_nil() || of.is_nil_pointer() ? "index of nil pointer"
                                                   : "can't index item of type " + of.type_name());
  }
  const size_t size = of.is_list() ? of.as_list().values().size() : of.as_text().bytes.size();
  ASSIGN_OR_RETURN(const size_t at, IndexOf(index, size));
  if (at == size) return Fail(absl::StrCat("index out of range: ", at));
  if (of.is_list()) return of.as_list().values()[at];
  return Value::Byte(static_cast<unsigned char>(of.as_text().bytes[at]));
}

absl::StatusOr<Value> Index(Interpreter& in, Arguments of) {
  Value value = of[0];
  if (value.is_nothing()) return Fail("index of untyped nil");
  for (const Value& index : of.subspan(1)) {
    RETURN_IF_ERROR(in.budget().Step());
    ASSIGN_OR_RETURN(value, IndexOnce(value, index));
  }
  return value;
}

absl::StatusOr<Value> Slice(Interpreter& in, Arguments of) {
  const Value& value = of[0];
  if (value.is_nothing()) return Fail("slice of untyped nil");
  if (of.size() > 4) return Fail(absl::StrCat("too many slice indexes: ", of.size() - 1));
  if (!value.is_string() && !value.is_list()) {
    return Fail("can't slice item of type " + value.type_name());
  }
  if (value.is_string() && of.size() == 4) return Fail("cannot 3-index slice a string");
  const size_t size =
      value.is_string() ? value.as_text().bytes.size() : value.as_list().values().size();
  std::array<size_t, 3> at = {0, size, size};
  for (size_t i = 1; i < of.size(); ++i) {
    ASSIGN_OR_RETURN(at[i - 1], IndexOf(of[i], size));
  }
  if (at[0] > at[1] || at[1] > at[2]) {
    return Fail(absl::StrCat("invalid slice index: ", at[0] > at[1] ? at[0] : at[1], " > ",
                             at[0] > at[1] ? at[1] : at[2]));
  }
  if (value.is_string()) {
    RETURN_IF_ERROR(in.budget().String(at[1] - at[0]));
    return Value(value.as_text().Part(at[0], at[1]));
  }
  return value.Part(at[0], at[1]);
}

// ---- printing

absl::StatusOr<Value> Print(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(Text text, Sprint(of, in.budget()));
  return Value(std::move(text));
}

absl::StatusOr<Value> Println(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(Text text, Sprintln(of, in.budget()));
  return Value(std::move(text));
}

absl::StatusOr<Value> Printf(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(Text text, Sprintf(of[0].as_text(), of.subspan(1), in.budget()));
  return Value(std::move(text));
}

// The arguments as {{ }} would print them.
absl::StatusOr<Text> Joined(Interpreter& in, Arguments of) {
  if (of.size() == 1) return Printed(of[0], in.budget());
  std::vector<Value> shown;
  for (const Value& value : of) {
    const bool pointer = value.is_struct() && value.as_struct().pointer;
    if (value.is_nothing()) {
      shown.push_back(Value::Own("<no value>"));
    } else if (pointer) {
      Struct pointed = value.as_struct();
      pointed.pointer = false;
      shown.emplace_back(std::move(pointed));
    } else {
      shown.push_back(value);
    }
  }
  return Sprint(shown, in.budget());
}

template <typename Escape>
absl::StatusOr<Value> Escaped(Interpreter& in, Arguments of, Escape escape) {
  ASSIGN_OR_RETURN(const Text text, Joined(in, of));
  std::string escaped;
  for (size_t at = 0; at < text.bytes.size();) {
    const DecodedScalar scalar = DecodeUtf8(text.bytes, at);
    escape(std::string_view(text.bytes).substr(at, scalar.length), scalar.value, &escaped);
    at += scalar.length;
  }
  RETURN_IF_ERROR(in.budget().String(escaped.size()));
  return Value(Text::Tainting(std::move(escaped), text.tainted()));
}

void EscapeHtml(std::string_view bytes, uint32_t scalar, std::string* out) {
  constexpr std::string_view kFrom = "\"'&<>";
  constexpr std::string_view kTo[] = {"&#34;", "&#39;", "&amp;", "&lt;", "&gt;"};
  const size_t at =
      scalar < 0x80 && scalar > 0 ? kFrom.find(static_cast<char>(scalar)) : std::string_view::npos;
  if (scalar == 0) {
    AppendUtf8(kReplacementScalar, out);
  } else {
    out->append(at == std::string_view::npos ? bytes : kTo[at]);
  }
}

void EscapeJs(std::string_view bytes, uint32_t scalar, std::string* out) {
  constexpr std::string_view kFrom = "\\'\"<>&=";
  constexpr std::string_view kTo[] = {R"(\\)",     R"(\')",     R"(\")",    R"(\u003C)",
                                      R"(\u003E)", R"(\u0026)", R"(\u003D)"};
  const size_t at =
      scalar < 0x80 && scalar > 0 ? kFrom.find(static_cast<char>(scalar)) : std::string_view::npos;
  if (at != std::string_view::npos) {
    out->append(kTo[at]);
  } else if (scalar < 0x20) {
    absl::StrAppendFormat(out, "\\u%04X", scalar);
  } else if (scalar < 0x80 || scalar == kInvalidScalar || IsPrintable(scalar)) {
    out->append(bytes);
  } else {
    absl::StrAppendFormat(out, "\\u%04X", scalar);
  }
}

void EscapeQuery(std::string_view bytes, uint32_t, std::string* out) {
  for (const char c : bytes) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ||
                       c == '.' || c == '~';
    if (c == ' ') {
      out->push_back('+');
    } else if (plain) {
      out->push_back(c);
    } else {
      absl::StrAppendFormat(out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
}

absl::StatusOr<Value> Html(Interpreter& in, Arguments of) { return Escaped(in, of, EscapeHtml); }
absl::StatusOr<Value> Js(Interpreter& in, Arguments of) { return Escaped(in, of, EscapeJs); }
absl::StatusOr<Value> UrlQuery(Interpreter& in, Arguments of) {
  return Escaped(in, of, EscapeQuery);
}

absl::StatusOr<Value> CallValue(Interpreter&, Arguments of) {
  return Fail("non-function of type " + of[0].type_name());
}

// ---- Ollama's

absl::StatusOr<Value> Json(Interpreter& in, Arguments of) {
  ASSIGN_OR_RETURN(Text json, ToJson(of[0], in.budget()));
  return Value(std::move(json));
}

Value DateOf(std::chrono::system_clock::time_point when, int days) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
  std::tm local{};
  localtime_r(&seconds, &local);
  if (days != 0) {
    local.tm_mday += days;
    local.tm_isdst = -1;
    std::mktime(&local);
  }
  char text[32];
  return Value::Own({text, std::strftime(text, sizeof(text), "%Y-%m-%d", &local)});
}

absl::StatusOr<Value> CurrentDate(Interpreter& in, Arguments) { return DateOf(in.now(), 0); }
absl::StatusOr<Value> YesterdayDate(Interpreter& in, Arguments) { return DateOf(in.now(), -1); }

// Of a tool's property; the type itself knows.
absl::StatusOr<Value> ToTypeScriptType(Interpreter&, Arguments of) {
  if (of[0].is_struct()) {
    for (const auto& [method, result] : of[0].as_struct().methods) {
      if (method == "ToTypeScriptType") return result;
    }
  }
  return Value::Own("any");
}

constexpr size_t kAny = std::numeric_limits<size_t>::max();
// `and` and `or` are the interpreter's.
constexpr Function kFunctions[] = {
    {"and", 1, kAny},
    {"call", 1, kAny, false, false, CallValue},
    {"currentDate", 0, kAny, true, false, CurrentDate},
    {"eq", 1, kAny, false, false, Eq},
    {"ge", 2, 2, false, false, Ge},
    {"gt", 2, 2, false, false, Gt},
    {"html", 0, kAny, false, false, Html},
    {"index", 1, kAny, false, false, Index},
    {"js", 0, kAny, false, false, Js},
    {"json", 1, 1, false, false, Json},
    {"le", 2, 2, false, false, Le},
    {"len", 1, 1, false, false, Len},
    {"lt", 2, 2, false, false, Lt},
    {"ne", 2, 2, false, false, Ne},
    {"not", 1, 1, false, false, Not},
    {"or", 1, kAny},
    {"print", 0, kAny, false, false, Print},
    {"printf", 1, kAny, false, true, Printf},
    {"println", 0, kAny, false, false, Println},
    {"slice", 1, kAny, false, false, Slice},
    {"toTypeScriptType", 1, 1, false, false, ToTypeScriptType},
    {"urlquery", 0, kAny, false, false, UrlQuery},
    {"yesterdayDate", 0, kAny, true, false, YesterdayDate},
};

}  // namespace

const Function* FindFunction(std::string_view name) {
  for (const Function& function : kFunctions) {
    if (function.name == name) return &function;
  }
  return nullptr;
}

std::string_view TypeScriptName(std::string_view json_type) {
  if (json_type == "string" || json_type == "boolean" || json_type == "null") return json_type;
  if (json_type == "number" || json_type == "integer") return "number";
  if (json_type == "array") return "any[]";
  return json_type == "object" ? "Record<string, any>" : "any";
}

}  // namespace conclave::engine::gotmpl
