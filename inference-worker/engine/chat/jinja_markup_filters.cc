// Filters that write HTML and URLs (jinja_library.h).
#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text_operations.h"

namespace conclave::engine::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result Marked(Interpreter& in, Text text) {
  text.markup = true;
  return in.MakeString(std::move(text));
}

Result Escape(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  return Marked(in, text.markup ? text : Escaped(text));
}

Result ForceEscape(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  return Marked(in, Escaped(text));
}

Result Safe(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(Text text, ToText(input, in.budget()));
  return Marked(in, std::move(text));
}

// Percent-encoded; in a query a slash too, and a space is "+".
std::string Quoted(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos;
    if (plain || (c == '/' && !query)) {
      out.push_back(c);
    } else if (c == ' ' && query) {
      out.push_back('+');
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

absl::StatusOr<Text> QuotedText(Interpreter& in, const Value& value, bool query) {
  ASSIGN_OR_RETURN(const Text text, ToText(value, in.budget()));
  RETURN_IF_ERROR(in.budget().String(3 * text.bytes.size()));
  return Text::Tainting(Quoted(text.bytes, query), text.tainted());
}

Result UrlEncode(Interpreter& in, const Value& input, const Arguments&) {
  if (!input.is_dict() && !input.is_list()) {
    ASSIGN_OR_RETURN(Text text, QuotedText(in, input, false));
    return in.MakeString(std::move(text));
  }
  Value pairs = input;
  if (input.is_dict()) {
    ASSIGN_OR_RETURN(pairs, in.ApplyFilter("items", input, {}));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, in.Iterate(pairs));
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const std::vector<Value> pair, in.Iterate(items[i]));
    if (pair.size() != 2) return NeedsError("urlencode", "pairs", items[i]);
    ASSIGN_OR_RETURN(const Text key, QuotedText(in, pair[0], true));
    ASSIGN_OR_RETURN(const Text value, QuotedText(in, pair[1], true));
    if (i > 0) out.Append("&");
    out.Append(key);
    out.Append("=");
    out.Append(value);
  }
  return in.MakeString(std::move(out));
}

Result XmlAttributes(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("xmlattr", arguments, {"autospace"}));
  if (!input.is_dict()) return NeedsError("xmlattr", "a dict", input);
  Text out;
  for (const auto& [key, value] : input.as_dict().items) {
    if (value.is_none() || value.is_undefined()) continue;
    if (!key.is_string()) return NeedsError("xmlattr", "strings as keys", key);
    if (key.as_string().find_first_of(" \t\n\f\r\v/>=") != std::string_view::npos) {
      return base::InvalidArgument("xmlattr: a key has a character that no attribute may have");
    }
    ASSIGN_OR_RETURN(const Text shown, ToText(value, in.budget()));
    RETURN_IF_ERROR(in.budget().String(shown.bytes.size()));
    if (!out.bytes.empty() || bound.TruthAt(0, true)) out.Append(" ");
    out.Append(Escaped(key.as_text()));
    out.Append("=\"");
    out.Append(shown.markup ? shown : Escaped(shown));
    out.Append("\"");
  }
  return in.MakeString(std::move(out));
}

struct Row {
  std::string_view name;
  FilterFunction filter;
};
constexpr Row kFilters[] = {
    {"e", Escape},  {"escape", Escape},       {"forceescape", ForceEscape},
    {"safe", Safe}, {"urlencode", UrlEncode}, {"xmlattr", XmlAttributes},
};

}  // namespace

FilterFunction FindMarkupFilter(std::string_view name) {
  const Row* row = std::find_if(std::begin(kFilters), std::end(kFilters),
                                [&](const Row& candidate) { return candidate.name == name; });
  return row == std::end(kFilters) ? nullptr : row->filter;
}

}  // namespace conclave::engine::jinja
