// tojson as transformers has it: Python's json.dumps without escaping beyond JSON's own
// (jinja_library.h).
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/chat/jinja_library.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

class JsonPrinter final {
 public:
  JsonPrinter(Interpreter& in, const JsonStyle& style) : in_(in), style_(style) {}

  absl::Status Print(const Value& value, int level) {
    RETURN_IF_ERROR(in_.budget().Step());
    if (out_.bytes.size() > in_.budget().limits().output_bytes_max) {
      return in_.budget().String(out_.bytes.size());
    }
    if (value.is_none()) {
      out_.Append("null");
    } else if (value.is_bool()) {
      out_.Append(value.as_bool() ? "true" : "false");
    } else if (value.is_int()) {
      out_.Append(absl::StrCat(value.as_int()));
    } else if (value.is_big()) {
      out_.Append(value.big_digits());
    } else if (value.is_float()) {
      out_.Append(FloatJson(value.as_float()));
    } else if (value.is_string()) {
      PrintString(value.as_text());
    } else if (value.is_plain_list()) {
      return PrintList(value.as_list(), level);
    } else if (value.is_dict()) {
      return PrintDict(value.as_dict(), level);
    } else {
      return base::InvalidArgument(absl::StrCat(
          "tojson: object of type ", std::string(value.type_name()), " is not JSON serializable"));
    }
    return absl::OkStatus();
  }
  Text Take() { return std::move(out_); }

 private:
  static std::string FloatJson(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return FloatText(value);
  }

  void PrintString(const Text& text) {
    std::string json = "\"";
    for (size_t at = 0; at < text.bytes.size();) {
      const DecodedScalar scalar = DecodeUtf8(text.bytes, at);
      AppendEscaped(std::string_view(text.bytes).substr(at, scalar.length), scalar.value, &json);
      at += scalar.length;
    }
    json.push_back('"');
    out_.Append(Text::Tainting(std::move(json), text.tainted()));
  }

  void AppendEscaped(std::string_view bytes, uint32_t scalar, std::string* json) const {
    constexpr std::string_view kSpecial = "\"\\\b\f\n\r\t";
    constexpr std::string_view kLetters = "\"\\bfnrt";
    if (scalar < 0x80) {
      const size_t special = kSpecial.find(static_cast<char>(scalar));
      if (special != std::string_view::npos) {
        json->append({'\\', kLetters[special]});
        return;
      }
    }
    if (scalar < 0x20 || (style_.ascii && scalar == 0x7F)) {
      absl::StrAppendFormat(json, "\\u%04x", scalar);
    } else if (style_.ascii && scalar >= 0x10000 && scalar != kInvalidScalar) {
      const uint32_t rest = scalar - 0x10000;
      absl::StrAppendFormat(json, "\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else if (style_.ascii && scalar >= 0x80 && scalar != kInvalidScalar) {
      absl::StrAppendFormat(json, "\\u%04x", scalar);
    } else {
      json->append(bytes);
    }
  }

  void NewLine(int level) {
    if (style_.indent < 0) return;
    out_.Append("\n");
    out_.Append(std::string(static_cast<size_t>(style_.indent) * static_cast<size_t>(level), ' '));
  }

  absl::Status PrintList(const List& list, int level) {
    out_.Append("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(level + 1);
      RETURN_IF_ERROR(Print(list.items[i], level + 1));
    }
    if (!list.items.empty()) NewLine(level);
    out_.Append("]");
    return absl::OkStatus();
  }

  absl::Status PrintDict(const Dict& dict, int level) {
    std::vector<std::pair<Text, const Value*>> members;
    for (const auto& [key, value] : dict.items) {
      ASSIGN_OR_RETURN(Text text, KeyText(key));
      members.emplace_back(std::move(text), &value);
    }
    if (style_.sort_keys) {
      // Python sorts the keys themselves, which must be of one kind.
      for (const auto& [key, value] : dict.items) {
        if (key.is_string() != dict.items.front().first.is_string() || key.is_none()) {
          return base::InvalidArgument("tojson: keys of different types cannot be sorted");
        }
      }
      std::stable_sort(members.begin(), members.end(),
                       [](const auto& a, const auto& b) { return a.first.bytes < b.first.bytes; });
    }
    out_.Append("{");
    for (size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out_.Append(style_.item_separator);
      NewLine(level + 1);
      PrintString(members[i].first);
      out_.Append(style_.key_separator);
      RETURN_IF_ERROR(Print(*members[i].second, level + 1));
    }
    if (!members.empty()) NewLine(level);
    out_.Append("}");
    return absl::OkStatus();
  }

  absl::StatusOr<Text> KeyText(const Value& key) {
    if (key.is_string()) return key.as_text();
    if (key.is_none()) return Text("null");
    if (key.is_bool()) return Text(key.as_bool() ? "true" : "false");
    return ToText(key, in_.budget());
  }

  Interpreter& in_;
  const JsonStyle& style_;
  Text out_;
};

}  // namespace

absl::StatusOr<Text> ToJson(Interpreter& in, const Value& value, const JsonStyle& style) {
  if (value.is_undefined()) return base::InvalidArgument(value.undefined_message());
  JsonPrinter printer(in, style);
  RETURN_IF_ERROR(printer.Print(value, 0));
  return printer.Take();
}

}  // namespace conclave::engine::jinja
