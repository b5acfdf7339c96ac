// Go's json.Marshal (go_value.h): escaped for HTML, keys of maps in order.
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/chat/go_strconv.h"
#include "engine/chat/go_value.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::gotmpl {
namespace {

// Whether `omitempty` leaves it out.
bool IsEmpty(const Value& value) { return !value.is_struct() && !value.truthy(); }

void AppendEscaped(std::string_view bytes, uint32_t scalar, std::string* json) {
  constexpr std::string_view kSpecial = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
  if (scalar == kInvalidScalar) {
    json->append("\\ufffd");
    return;
  }
  const size_t special =
      scalar < 0x80 ? kSpecial.find(static_cast<char>(scalar)) : std::string_view::npos;
  const bool html = scalar == '<' || scalar == '>' || scalar == '&';
  if (special != std::string_view::npos) {
    json->append({'\\', kLetters[special]});
  } else if (scalar < 0x20 || html || scalar == 0x2028 || scalar == 0x2029) {
    absl::StrAppendFormat(json, "\\u%04x", scalar);
  } else {
    json->append(bytes);
  }
}

class JsonPrinter final {
 public:
  explicit JsonPrinter(Budget& budget) : budget_(budget) {}

  absl::Status Print(const Value& value) {
    RETURN_IF_ERROR(budget_.Step());
    if (out_.bytes.size() > budget_.limits().output_bytes_max) {
      return budget_.String(out_.bytes.size());
    }
    const Budget::Depth depth(budget_);
    RETURN_IF_ERROR(depth.Check());
    if (value.is_bool()) {
      out_.Append(value.as_bool() ? "true" : "false");
    } else if (value.is_int()) {
      out_.Append(absl::StrCat(value.as_int()));
    } else if (value.is_float()) {
      return PrintFloat(value.as_float());
    } else if (value.is_string()) {
      return PrintString(value.as_text());
    } else if (value.is_list()) {
      return PrintList(value.as_list());
    } else if (value.is_map()) {
      return PrintMap(value.as_map());
    } else if (value.is_struct()) {
      return PrintStruct(value.as_struct());
    } else {
      out_.Append("null");
    }
    return absl::OkStatus();
  }
  Text Take() { return std::move(out_); }

 private:
  absl::Status PrintFloat(double value) {
    // Go marshals no infinity; the template's function then gives nothing.
    if (!std::isfinite(value)) return base::InvalidArgument("json: unsupported value");
    const double size = std::abs(value);
    const bool exponent = size != 0 && (size < 1e-6 || size >= 1e21);
    std::string text = FormatFloat(value, exponent ? 'e' : 'f', -1);
    // e-09 is e-9.
    const size_t n = text.size();
    if (exponent && n >= 4 && text[n - 4] == 'e' && text[n - 3] == '-' && text[n - 2] == '0') {
      text.erase(n - 2, 1);
    }
    out_.Append(text);
    return absl::OkStatus();
  }

  absl::Status PrintString(const Text& text) {
    RETURN_IF_ERROR(budget_.Bytes(text.bytes.size()));
    std::string json = "\"";
    for (size_t at = 0; at < text.bytes.size();) {
      const DecodedScalar scalar = DecodeUtf8(text.bytes, at);
      AppendEscaped(std::string_view(text.bytes).substr(at, scalar.length), scalar.value, &json);
      at += scalar.length;
    }
    json.push_back('"');
    out_.Append(Text::Tainting(std::move(json), text.tainted()));
    return absl::OkStatus();
  }

  absl::Status PrintList(const List& list) {
    if (list.nil) {
      out_.Append("null");
      return absl::OkStatus();
    }
    const std::span<const Value> values = list.values();
    if (list.wording == Wording::kWords && values.size() == 1) return Print(values.front());
    out_.Append("[");
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0) out_.Append(",");
      RETURN_IF_ERROR(Print(values[i]));
    }
    out_.Append("]");
    return absl::OkStatus();
  }

  absl::Status PrintMember(const Text& name, const Value& value, bool* first) {
    out_.Append(std::exchange(*first, false) ? "" : ",");
    RETURN_IF_ERROR(PrintString(name));
    out_.Append(":");
    return Print(value);
  }

  absl::Status PrintMap(const Map& map) {
    if (map.nil) {
      out_.Append("null");
      return absl::OkStatus();
    }
    out_.Append("{");
    bool first = true;
    for (const auto& [key, value] : map.items) RETURN_IF_ERROR(PrintMember(key, value, &first));
    out_.Append("}");
    return absl::OkStatus();
  }

  absl::Status PrintStruct(const Struct& of) {
    out_.Append("{");
    bool first = true;
    for (const Struct::Field& field : of.fields) {
      if (field.json.bytes.empty() && !of.opaque) continue;
      if (field.omit_empty && IsEmpty(field.value)) continue;
      RETURN_IF_ERROR(PrintMember(field.json, field.value, &first));
    }
    out_.Append("}");
    return absl::OkStatus();
  }

  Budget& budget_;
  Text out_;
};

}  // namespace

absl::StatusOr<Text> ToJson(const Value& value, Budget& budget) {
  JsonPrinter printer(budget);
  RETURN_IF_ERROR(printer.Print(value));
  Text json = printer.Take();
  RETURN_IF_ERROR(budget.String(json.bytes.size()));
  return json;
}

}  // namespace conclave::engine::gotmpl
