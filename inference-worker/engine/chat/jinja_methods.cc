// Methods of strings, dicts and lists (jinja_library.h). What would change a value in place is
// refused: templates run as in the immutable sandbox they were written for.
#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/chat/jinja_format.h"
#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text.h"
#include "engine/chat/jinja_text_operations.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

using Result = absl::StatusOr<Value>;
using Method = Result (*)(Interpreter& in, const Value& self, const Arguments& arguments);

struct Row {
  std::string_view name;
  Method method;
};

// --- strings
// ----------------------------------------------------------------------------------------

enum class Sides { kBoth, kLeft, kRight };

template <Sides kSides>
Result Strip(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("strip", arguments, {"chars"}));
  const Text& text = self.as_text();
  std::string_view view = text.bytes;
  const bool spaces = !bound.given(0) || bound[0].is_none();
  ASSIGN_OR_RETURN(const Text set, spaces ? Text() : bound.TextAt(0));
  if (kSides != Sides::kRight) view = spaces ? StripLeft(view) : StripLeft(view, set.bytes);
  if (kSides != Sides::kLeft) view = spaces ? StripRight(view) : StripRight(view, set.bytes);
  return in.MakeString(PartOf(text, view));
}

template <bool kFromRight>
Result SplitMethod(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("split", arguments, {"sep", "maxsplit"}));
  const bool spaces = !bound.given(0) || bound[0].is_none();
  ASSIGN_OR_RETURN(const Text separator, spaces ? Text() : bound.TextAt(0));
  if (!spaces && separator.bytes.empty()) return base::InvalidArgument("split(): empty separator");
  ASSIGN_OR_RETURN(const int64_t at_most, bound.IntAt(1, -1));
  ASSIGN_OR_RETURN(std::vector<Value> pieces,
                   Split(in, self.as_text(), separator.bytes, at_most, kFromRight));
  return in.MakeList(std::move(pieces));
}

Result SplitLinesMethod(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("splitlines", arguments, {"keepends"}));
  ASSIGN_OR_RETURN(std::vector<Value> lines,
                   SplitLines(in, self.as_text(), bound.TruthAt(0, false)));
  return in.MakeList(std::move(lines));
}

template <bool kFromRight>
Result Partition(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("partition", arguments, {"sep"}));
  ASSIGN_OR_RETURN(const Text separator, bound.TextAt(0));
  if (separator.bytes.empty()) return base::InvalidArgument("partition(): empty separator");
  const Text& text = self.as_text();
  const size_t found =
      kFromRight ? text.bytes.rfind(separator.bytes) : text.bytes.find(separator.bytes);
  std::vector<Value> parts;
  if (found == std::string::npos) {
    parts = {self, Value::Own(""), Value::Own("")};
    if (kFromRight) std::swap(parts[0], parts[2]);
  } else {
    const size_t after = found + separator.bytes.size();
    parts = {Value(text.Part(0, found)), Value(text.Part(found, after)),
             Value(text.Part(after, text.bytes.size()))};
  }
  RETURN_IF_ERROR(in.budget().String(text.bytes.size()));
  return in.MakeList(std::move(parts), ListKind::kTuple);
}

// startswith and endswith take a string or a tuple of strings, and the range to look at.
template <bool kStart>
Result HasAffix(Interpreter& in, const Value& self, const Arguments& arguments) {
  const char* name = kStart ? "startswith" : "endswith";
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind(name, arguments, {"affix", "start", "end"}));
  ASSIGN_OR_RETURN(const Value part, GetSlice(in, self, bound[1], bound[2], Value()));
  std::vector<Value> affixes{bound[0]};
  if (bound[0].is_list()) affixes = bound[0].as_list().items;
  for (const Value& affix : affixes) {
    if (!affix.is_string()) return NeedsError(name, "a string", affix);
    const std::string_view text = part.as_string();
    if (kStart ? text.starts_with(affix.as_string()) : text.ends_with(affix.as_string())) {
      return Value(true);
    }
  }
  return Value(false);
}

template <bool kStart>
Result RemoveAffix(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("removeprefix", arguments, {"affix"}));
  ASSIGN_OR_RETURN(const Text affix, bound.TextAt(0));
  const Text& text = self.as_text();
  const size_t size = text.bytes.size(), cut = affix.bytes.size();
  if (kStart ? !text.bytes.starts_with(affix.bytes) : !text.bytes.ends_with(affix.bytes)) {
    return self;
  }
  return in.MakeString(kStart ? text.Part(cut, size) : text.Part(0, size - cut));
}

Result ReplaceMethod(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("replace", arguments, {"old", "new", "count"}));
  ASSIGN_OR_RETURN(const Text old, bound.TextAt(0));
  ASSIGN_OR_RETURN(const Text with, bound.TextAt(1));
  ASSIGN_OR_RETURN(const int64_t count, bound.IntAt(2, -1));
  ASSIGN_OR_RETURN(Text text, Replace(in, self.as_text(), old, with, count));
  return Value(std::move(text));
}

template <std::string (*kConvert)(std::string_view)>
Result Convert(Interpreter& in, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("method", arguments, {}).status());
  RETURN_IF_ERROR(in.budget().String(self.as_string().size()));
  const Text& text = self.as_text();
  Text made = Text::Tainting(kConvert(text.bytes), text.tainted());
  made.markup = text.markup;
  return in.MakeString(std::move(made));
}

template <CharacterClass kClass>
Result IsAll(Interpreter& in, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("method", arguments, {}).status());
  RETURN_IF_ERROR(in.budget().Bytes(self.as_string().size()));
  return Value(AllOf(self.as_string(), kClass));
}

template <bool kFromRight, bool kMustFind>
Result FindMethodOf(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("find", arguments, {"sub", "start", "end"}));
  ASSIGN_OR_RETURN(const Text sub, bound.TextAt(0));
  ASSIGN_OR_RETURN(const Value part, GetSlice(in, self, bound[1], bound[2], Value()));
  const std::string_view text = part.as_string();
  const size_t found = kFromRight ? text.rfind(sub.bytes) : text.find(sub.bytes);
  if (found == std::string_view::npos) {
    if (kMustFind) return base::InvalidArgument("index(): substring not found");
    return Value(int64_t{-1});
  }
  ASSIGN_OR_RETURN(int64_t start, bound.IntAt(1, 0));
  const int64_t size = CountCharacters(self.as_string());
  start = std::clamp<int64_t>(start < 0 ? start + size : start, 0, size);
  return Value(start + CountCharacters(text.substr(0, found)));
}

Result CountMethod(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("count", arguments, {"sub", "start", "end"}));
  ASSIGN_OR_RETURN(const Text sub, bound.TextAt(0));
  ASSIGN_OR_RETURN(const Value part, GetSlice(in, self, bound[1], bound[2], Value()));
  const std::string_view text = part.as_string();
  RETURN_IF_ERROR(in.budget().Bytes(text.size()));
  if (sub.bytes.empty()) return Value(CountCharacters(text) + 1);
  int64_t count = 0;
  for (size_t at = text.find(sub.bytes); at != std::string_view::npos;
       at = text.find(sub.bytes, at + sub.bytes.size())) {
    ++count;
  }
  return Value(count);
}

Result JoinMethod(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("join", arguments, {"iterable"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, in.Iterate(bound[0]));
  for (const Value& item : items) {
    if (!item.is_string()) return NeedsError("join", "strings", item);
  }
  ASSIGN_OR_RETURN(Text text, Join(in, items, self.as_text()));
  return Value(std::move(text));
}

enum class Fill { kLeft, kRight, kCenter, kZero };

template <Fill kFill>
Result Justify(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("justify", arguments, {"width", "fillchar"}));
  ASSIGN_OR_RETURN(const int64_t width, bound.IntAt(0, 0));
  ASSIGN_OR_RETURN(const Text fill, bound.TextAt(1, kFill == Fill::kZero ? "0" : " "));
  if (CountCharacters(fill.bytes) != 1) return base::InvalidArgument("fill must be one character");
  const Text& text = self.as_text();
  const int64_t missing = width - CountCharacters(text.bytes);
  if (missing <= 0) return self;
  RETURN_IF_ERROR(in.budget().String(static_cast<size_t>(width) * fill.bytes.size()));
  int64_t left = kFill == Fill::kLeft ? 0 : missing;  // where the filling goes
  if (kFill == Fill::kCenter) left = missing / 2 + (missing & width & 1);
  Text out;
  size_t begin = 0;
  if (kFill == Fill::kZero && (text.bytes.starts_with('-') || text.bytes.starts_with('+'))) {
    out.AppendPart(text, 0, begin = 1);
  }
  for (int64_t i = 0; i < left; ++i) out.Append(fill);
  out.AppendPart(text, begin, text.bytes.size());
  for (int64_t i = left; i < missing; ++i) out.Append(fill);
  return in.MakeString(std::move(out));
}

Result FormatMethod(Interpreter& in, const Value& self, const Arguments& arguments) {
  return FormatBraces(in, self.as_text(), arguments);
}

Result IsAscii(Interpreter& in, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("isascii", arguments, {}).status());
  RETURN_IF_ERROR(in.budget().Bytes(self.as_string().size()));
  return Value(std::all_of(self.as_string().begin(), self.as_string().end(),
                           [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
}

Result IsTitle(Interpreter& in, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("istitle", arguments, {}).status());
  RETURN_IF_ERROR(in.budget().Bytes(self.as_string().size()));
  return Value(IsTitleCase(self.as_string()));
}

Result ExpandTabs(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("expandtabs", arguments, {"tabsize"}));
  ASSIGN_OR_RETURN(const int64_t size, bound.IntAt(0, 8));
  if (size > 1000) return base::InvalidArgument("expandtabs(): tabsize must be at most 1000");
  const Text& text = self.as_text();
  RETURN_IF_ERROR(in.budget().Bytes(text.bytes.size()));
  Text out;
  int64_t column = 0;
  for (size_t at = 0; at < text.bytes.size();) {
    const size_t length = DecodeUtf8(text.bytes, at).length;
    const char c = text.bytes[at];
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      RETURN_IF_ERROR(in.budget().String(static_cast<size_t>(spaces)));
      out.Append(std::string(static_cast<size_t>(spaces), ' '));
      column += spaces;
    } else {
      out.AppendPart(text, at, at + length);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    at += length;
  }
  return in.MakeString(std::move(out));
}

std::string SwapCase(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = DecodeUtf8(text, at).length;
    const std::string_view character = text.substr(at, length);
    const std::string upper = ToUpper(character);
    out += upper == character ? ToLower(character) : upper;
    at += length;
  }
  return out;
}

constexpr Row kStringMethods[] = {
    {"capitalize", Convert<Capitalize>},
    {"center", Justify<Fill::kCenter>},
    {"count", CountMethod},
    {"endswith", HasAffix<false>},
    {"expandtabs", ExpandTabs},
    {"find", FindMethodOf<false, false>},
    {"format", FormatMethod},
    {"index", FindMethodOf<false, true>},
    {"isalnum", IsAll<CharacterClass::kAlnum>},
    {"isalpha", IsAll<CharacterClass::kAlpha>},
    {"isascii", IsAscii},
    {"isdecimal", IsAll<CharacterClass::kDecimal>},
    {"isdigit", IsAll<CharacterClass::kDigit>},
    {"islower", IsAll<CharacterClass::kLower>},
    {"isnumeric", IsAll<CharacterClass::kNumeric>},
    {"isspace", IsAll<CharacterClass::kSpace>},
    {"istitle", IsTitle},
    {"isupper", IsAll<CharacterClass::kUpper>},
    {"join", JoinMethod},
    {"ljust", Justify<Fill::kLeft>},
    {"lower", Convert<ToLower>},
    {"lstrip", Strip<Sides::kLeft>},
    {"partition", Partition<false>},
    {"removeprefix", RemoveAffix<true>},
    {"removesuffix", RemoveAffix<false>},
    {"replace", ReplaceMethod},
    {"rfind", FindMethodOf<true, false>},
    {"rindex", FindMethodOf<true, true>},
    {"rjust", Justify<Fill::kRight>},
    {"rpartition", Partition<true>},
    {"rsplit", SplitMethod<true>},
    {"rstrip", Strip<Sides::kRight>},
    {"split", SplitMethod<false>},
    {"splitlines", SplitLinesMethod},
    {"startswith", HasAffix<true>},
    {"strip", Strip<Sides::kBoth>},
    {"swapcase", Convert<SwapCase>},
    {"title", Convert<TitleCase>},
    {"upper", Convert<ToUpper>},
    {"zfill", Justify<Fill::kZero>},
};

// --- dicts and lists
// --------------------------------------------------------------------------------

Result Items(Interpreter& in, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("items", arguments, {}).status());
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.as_dict().items) {
    ASSIGN_OR_RETURN(Value pair, in.MakeList({key, value}, ListKind::kTuple));
    pairs.push_back(std::move(pair));
  }
  return in.MakeList(std::move(pairs), ListKind::kItems);
}
Result Keys(Interpreter& in, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("keys", arguments, {}).status());
  ASSIGN_OR_RETURN(std::vector<Value> keys, in.Iterate(self));
  return in.MakeList(std::move(keys), ListKind::kKeys);
}
Result Values(Interpreter& in, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("values", arguments, {}).status());
  std::vector<Value> values;
  for (const auto& [key, value] : self.as_dict().items) values.push_back(value);
  return in.MakeList(std::move(values), ListKind::kValues);
}
Result Get(Interpreter&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("get", arguments, {"key", "default"}));
  if (const Value* found = self.as_dict().Find(bound[0])) return *found;
  return bound.given(1) ? bound[1] : Value(None{});
}
Result Copy(Interpreter&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("copy", arguments, {}).status());
  return self;
}
Result IndexOf(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("index", arguments, {"value"}));
  const auto& items = self.as_list().items;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool same, Equals(items[i], bound[0], in.budget()));
    if (same) return Value(static_cast<int64_t>(i));
  }
  return base::InvalidArgument("index(): value is not in the list");
}
Result CountOf(Interpreter& in, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("count", arguments, {"value"}));
  int64_t count = 0;
  for (const Value& item : self.as_list().items) {
    ASSIGN_OR_RETURN(const bool same, Equals(item, bound[0], in.budget()));
    count += same ? 1 : 0;
  }
  return Value(count);
}
// Without a method: what would change the value in place; it is undefined, and says why when
// called.
constexpr Row kDictMethods[] = {
    {"clear", nullptr},  {"copy", Copy},     {"get", Get},         {"items", Items},
    {"keys", Keys},      {"pop", nullptr},   {"popitem", nullptr}, {"setdefault", nullptr},
    {"update", nullptr}, {"values", Values},
};
constexpr Row kListMethods[] = {
    {"append", nullptr}, {"clear", nullptr},   {"copy", Copy},      {"count", CountOf},
    {"extend", nullptr}, {"index", IndexOf},   {"insert", nullptr}, {"pop", nullptr},
    {"remove", nullptr}, {"reverse", nullptr}, {"sort", nullptr},
};

constexpr Row kTupleMethods[] = {{"count", CountOf}, {"index", IndexOf}};

template <size_t kSize>
std::optional<Value> BindMethod(const Row (&rows)[kSize], const Value& self,
                                std::string_view name) {
  const Row* row = std::find_if(std::begin(rows), std::end(rows),
                                [&](const Row& candidate) { return candidate.name == name; });
  if (row == std::end(rows)) return std::nullopt;
  if (row->method == nullptr) {
    return Value::UndefinedBecause(
        absl::StrCat("a ", std::string(self.type_name()), " cannot be changed by a template"));
  }
  return Value::Function(std::string(name),
                         [self, method = row->method](Interpreter& in, const Arguments& arguments) {
                           return method(in, self, arguments);
                         });
}

}  // namespace

std::optional<Value> FindMethod(const Value& value, std::string_view name) {
  if (value.is_string()) return BindMethod(kStringMethods, value, name);
  if (value.is_dict()) return BindMethod(kDictMethods, value, name);
  if (!value.is_list()) return std::nullopt;
  const List& list = value.as_list();
  if (list.kind == ListKind::kGroup && name == "grouper") return list.items[0];
  if (list.kind == ListKind::kGroup && name == "list") return list.items[1];
  if (list.kind == ListKind::kList) return BindMethod(kListMethods, value, name);
  return list.has_items() ? BindMethod(kTupleMethods, value, name) : std::nullopt;
}

}  // namespace conclave::engine::jinja
