#include "engine/chat/go_print.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/chat/go_strconv.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::gotmpl {
namespace {

constexpr int kWidthMax = 1'000'000;  // as fmt has it

struct Flags {
  bool minus = false, plus = false, sharp = false, space = false, zero = false;
  bool plus_v = false;  // %+v: names of fields
  int width = -1;       // -1 = not given
  int precision = -1;
};

size_t CountScalars(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) at += DecodeUtf8(text, at).length;
  return count;
}

class Printer final {
 public:
  Printer(Budget& budget, const Flags& flags) : budget_(budget), flags_(flags) {}

  absl::Status Print(const Value& value, char verb, int level) {
    RETURN_IF_ERROR(budget_.Step());
    if (out_.bytes.size() > budget_.limits().output_bytes_max) {
      return budget_.String(out_.bytes.size());
    }
    const Budget::Depth depth(budget_);
    RETURN_IF_ERROR(depth.Check());
    if (value.is_nothing() || value.is_nil()) {
      if (level > 0) {
        out_.Append("<nil>");
      } else if (verb == 'v' || verb == 'T') {
        Pad(Text("<nil>"));
      } else {
        out_.Append(absl::StrCat("%!", std::string(1, verb), "(<nil>)"));
      }
      return absl::OkStatus();
    }
    if (verb == 'T') return PrintString(Text(value.type_name()), 's');
    if (std::string_view("vsxXq").find(verb) != std::string_view::npos) {
      ASSIGN_OR_RETURN(const std::optional<Text> words, OwnWords(value, budget_));
      if (words) return PrintString(*words, verb);
    }
    if (value.is_bool()) {
      if (verb != 'v' && verb != 't') return Bad(value, verb);
      Pad(Text(value.as_bool() ? "true" : "false"));
      return absl::OkStatus();
    }
    if (value.is_int()) return PrintInt(value, verb);
    if (value.is_float()) return PrintFloat(value, verb);
    if (value.is_string()) {
      if (std::string_view("vsxXq").find(verb) == std::string_view::npos) return Bad(value, verb);
      return PrintString(value.as_text(), verb);
    }
    if (value.is_list()) return PrintList(value.as_list(), verb, level);
    if (value.is_map()) return PrintMap(value.as_map(), verb, level);
    if (value.is_struct()) return PrintStruct(value.as_struct(), verb, level);
    if (verb != 'v') return Bad(value, verb);
    Pad(Text("<nil>"));  // a pointer
    return absl::OkStatus();
  }

  // %!d(string=hi)
  absl::Status Bad(const Value& value, char verb) {
    out_.Append(absl::StrCat("%!", std::string(1, verb), "(", value.type_name(), "="));
    Printer plain(budget_, flags_);
    RETURN_IF_ERROR(plain.Print(value, 'v', 0));
    out_.Append(plain.Take());
    out_.Append(")");
    return absl::OkStatus();
  }

  Text Take() { return std::move(out_); }

 private:
  void Pad(const Text& text) { Pad(text, flags_); }
  void Pad(const Text& text, const Flags& flags) {
    const size_t size = flags.width < 0 ? 0 : CountScalars(text.bytes);
    const size_t width = flags.width < 0 ? 0 : static_cast<size_t>(flags.width);
    const std::string filling(width > size ? width - size : 0,
                              flags.zero && !flags.minus ? '0' : ' ');
    if (!flags.minus) out_.Append(filling);
    out_.Append(text);
    if (flags.minus) out_.Append(filling);
  }

  // With its sign; zeros go behind that.
  void PadNumber(std::string text) {
    const size_t width = flags_.width < 0 ? 0 : static_cast<size_t>(flags_.width);
    const bool sign = text[0] == '-' || text[0] == '+' || text[0] == ' ';
    if (flags_.zero && !flags_.minus && width > text.size()) {
      text.insert(sign ? 1 : 0, width - text.size(), '0');
    }
    Pad(Text(std::move(text)));
  }

  absl::Status PrintString(const Text& whole, char verb) {
    RETURN_IF_ERROR(budget_.Bytes(whole.bytes.size()));
    size_t end = whole.bytes.size();
    if (flags_.precision >= 0) {
      end = 0;
      const bool bytes = verb == 'x' || verb == 'X';
      for (int i = 0; i < flags_.precision && end < whole.bytes.size(); ++i) {
        end += bytes ? 1 : DecodeUtf8(whole.bytes, end).length;
      }
    }
    const Text text = whole.Part(0, end);
    if (verb == 'v' || verb == 's') {
      Pad(text);
    } else if (verb == 'q') {
      const bool raw = flags_.sharp && CanBackquote(text.bytes);
      Pad(Text::Tainting(raw ? "`" + text.bytes + "`" : Quoted(text.bytes, '"', flags_.plus),
                         text.tainted()));
    } else {
      Pad(Text::Tainting(Hex(text.bytes, verb), text.tainted()));
    }
    return absl::OkStatus();
  }

  std::string Hex(std::string_view bytes, char verb) const {
    const std::string_view digits = verb == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";
    const std::string mark = flags_.sharp ? std::string("0") + verb : "";
    std::string hex = bytes.empty() ? "" : mark;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (flags_.space && i > 0) hex += " " + mark;
      const auto byte = static_cast<unsigned char>(bytes[i]);
      hex.append({digits[byte >> 4], digits[byte & 15]});
    }
    return hex;
  }

  absl::Status PrintInt(const Value& value, char verb) {
    const int64_t number = value.as_int();
    const bool scalar = number >= 0 && number <= 0x10FFFF && !(number >= 0xD800 && number < 0xE000);
    std::string character;
    AppendUtf8(scalar ? static_cast<uint32_t>(number) : kReplacementScalar, &character);
    switch (verb) {
      case 'v':
      case 'd':
        PrintDigits(number, 10, "", false);
        return absl::OkStatus();
      case 'b':
        PrintDigits(number, 2, flags_.sharp ? "0b" : "", false);
        return absl::OkStatus();
      case 'o':
        PrintDigits(number, 8, flags_.sharp ? "0" : "", false);
        return absl::OkStatus();
      case 'O':
        PrintDigits(number, 8, "0o", false);
        return absl::OkStatus();
      case 'x':
        PrintDigits(number, 16, flags_.sharp ? "0x" : "", false);
        return absl::OkStatus();
      case 'X':
        PrintDigits(number, 16, flags_.sharp ? "0X" : "", true);
        return absl::OkStatus();
      case 'c':
        Pad(Text(character));
        return absl::OkStatus();
      case 'q':
        Pad(Text(Quoted(character, '\'', flags_.plus)));
        return absl::OkStatus();
      case 'U':
        Pad(Text(absl::StrFormat("U+%04X", number) +
                 (flags_.sharp && scalar && IsPrintable(static_cast<uint32_t>(number))
                      ? " '" + character + "'"
                      : "")));
        return absl::OkStatus();
      default:
        return Bad(value, verb);
    }
  }

  void PrintDigits(int64_t number, int base, std::string_view mark, bool upper) {
    // The zeros of a width are digits here.
    Flags padding = flags_;
    padding.zero = false;
    // A precision of 0 shows no 0.
    if (flags_.precision == 0 && number == 0) return Pad(Text(), padding);
    char buffer[72];
    const bool negative = number < 0;
    const auto size = negative ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), size, base);
    static_cast<void>(error);
    std::string digits(buffer, end);
    if (upper) absl::AsciiStrToUpper(&digits);
    const bool sign = negative || flags_.plus || flags_.space;
    size_t wanted = flags_.precision > 0 ? static_cast<size_t>(flags_.precision) : 0;
    if (flags_.precision < 0 && flags_.zero && !flags_.minus && flags_.width > 0) {
      wanted = static_cast<size_t>(flags_.width) - (sign ? 1 : 0);
    }
    if (wanted > digits.size()) digits.insert(0, wanted - digits.size(), '0');
    if (!(base == 8 && mark == "0" && digits[0] == '0')) digits.insert(0, std::string(mark));
    if (sign) digits.insert(0, negative ? "-" : flags_.plus ? "+" : " ");
    Pad(Text(std::move(digits)), padding);
  }

  absl::Status PrintFloat(const Value& value, char verb) {
    std::string text;
    switch (verb) {
      case 'v':
        text = FormatFloat(value.as_float(), 'g', flags_.precision);
        break;
      case 'g':
      case 'G':
        text = FormatFloat(value.as_float(), verb, flags_.precision);
        break;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
        text = FormatFloat(value.as_float(), verb == 'F' ? 'f' : verb,
                           flags_.precision < 0 ? 6 : flags_.precision);
        break;
      case 'x':
      case 'X':
      case 'b':
        return base::InvalidArgument(
            absl::StrCat("printf: %", std::string(1, verb), " of a fraction is not served"));
      default:
        return Bad(value, verb);
    }
    if (flags_.sharp) {
      const bool general = verb == 'v' || verb == 'g' || verb == 'G';
      KeepZeros(general ? (flags_.precision < 0 ? 6 : flags_.precision) : 0, &text);
    }
    if (text[0] != '-' && text[0] != '+') {
      if (flags_.plus) text.insert(0, "+");
      if (flags_.space && !flags_.plus) text.insert(0, " ");
    }
    PadNumber(std::move(text));
    return absl::OkStatus();
  }

  absl::Status PrintList(const List& list, char verb, int level) {
    out_.Append("[");
    bool first = true;
    for (const Value& item : list.values()) {
      if (!std::exchange(first, false)) out_.Append(" ");
      RETURN_IF_ERROR(Print(item, verb, level + 1));
    }
    out_.Append("]");
    return absl::OkStatus();
  }

  absl::Status PrintMap(const Map& map, char verb, int level) {
    out_.Append("map[");
    bool first = true;
    for (const auto& [key, value] : map.items) {
      if (!std::exchange(first, false)) out_.Append(" ");
      RETURN_IF_ERROR(Print(Value(key), verb, level + 1));
      out_.Append(":");
      RETURN_IF_ERROR(Print(value, verb, level + 1));
    }
    out_.Append("]");
    return absl::OkStatus();
  }

  absl::Status PrintStruct(const Struct& of, char verb, int level) {
    if (of.opaque || (of.pointer && level > 0)) {
      return base::InvalidArgument("a pointer to a " + std::string(of.type) +
                                   " has no text: Go prints where it is in memory");
    }
    out_.Append(of.pointer ? "&{" : "{");
    bool first = true;
    for (const Struct::Field& field : of.fields) {
      if (!std::exchange(first, false)) out_.Append(" ");
      if (flags_.plus_v) out_.Append(field.name.bytes + ":");
      RETURN_IF_ERROR(Print(field.value, verb, level + 1));
    }
    out_.Append("}");
    return absl::OkStatus();
  }

  Budget& budget_;
  Flags flags_;
  Text out_;
};

// One run of Sprintf over its format.
class Formatter final {
 public:
  Formatter(const Text& format, std::span<const Value> values, Budget& budget)
      : format_(format), values_(values), budget_(budget) {}

  absl::StatusOr<Text> Run() {
    const std::string& bytes = format_.bytes;
    while (at_ < bytes.size()) {
      const size_t percent = std::min(bytes.find('%', at_), bytes.size());
      out_.AppendPart(format_, at_, percent);
      at_ = percent + 1;
      if (percent < bytes.size()) RETURN_IF_ERROR(OneVerb());
      RETURN_IF_ERROR(budget_.Step());
      if (out_.bytes.size() > budget_.limits().output_bytes_max) break;
    }
    RETURN_IF_ERROR(ReportExtra());
    RETURN_IF_ERROR(budget_.String(out_.bytes.size()));
    return std::move(out_);
  }

 private:
  char Peek() const { return at_ < format_.bytes.size() ? format_.bytes[at_] : '\0'; }

  absl::Status OneVerb() {
    Flags flags;
    for (;; ++at_) {
      const char c = Peek();
      if (c == '#') {
        flags.sharp = true;
      } else if (c == '0') {
        flags.zero = true;
      } else if (c == '+') {
        flags.plus = true;
      } else if (c == '-') {
        flags.minus = true;
      } else if (c == ' ') {
        flags.space = true;
      } else {
        break;
      }
    }
    if (Peek() == '[') return base::InvalidArgument("printf: [n] is not served");
    ReadCount("%!(BADWIDTH)", &flags.width);
    if (flags.width < -1) {
      flags.minus = true;
      flags.width = -flags.width;
    }
    if (Peek() == '.') {
      ++at_;
      const bool star = Peek() == '*';
      flags.precision = 0;
      ReadCount("%!(BADPREC)", &flags.precision);
      if (star && flags.precision < 0) {
        flags.precision = -1;
        if (read_count_) out_.Append("%!(BADPREC)");
      }
    }
    if (Peek() == '[') return base::InvalidArgument("printf: [n] is not served");
    return Apply(flags);
  }

  // Digits, or * for the next argument.
  void ReadCount(std::string_view complaint, int* count) {
    read_count_ = false;
    if (Peek() == '*') {
      ++at_;
      const bool fits = next_ < values_.size() && values_[next_].is_int() &&
                        std::abs(values_[next_].as_int()) <= kWidthMax;
      if (fits) *count = static_cast<int>(values_[next_].as_int());
      if (!fits) {
        *count = -1;
        out_.Append(complaint);
      }
      read_count_ = fits;
      if (next_ < values_.size()) ++next_;
      return;
    }
    int64_t value = -1;
    while (absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) {
      value = std::max<int64_t>(value, 0) * 10 + (format_.bytes[at_++] - '0');
      value = std::min<int64_t>(value, kWidthMax + 1);
    }
    if (value >= 0) *count = value > kWidthMax ? -1 : static_cast<int>(value);
  }

  absl::Status Apply(Flags flags) {
    if (at_ >= format_.bytes.size()) {
      out_.Append("%!(NOVERB)");
      return absl::OkStatus();
    }
    const DecodedScalar scalar = DecodeUtf8(format_.bytes, at_);
    const std::string written = format_.bytes.substr(at_, scalar.length);
    at_ += scalar.length;
    if (written == "%") {
      out_.Append("%");
      return absl::OkStatus();
    }
    if (next_ >= values_.size()) {
      out_.Append(absl::StrCat("%!", written, "(MISSING)"));
      return absl::OkStatus();
    }
    const Value& value = values_[next_++];
    const char verb = written.size() == 1 ? written[0] : '\0';
    if (verb == 'p' || verb == 'w' || verb == '\0' || (verb == 'v' && flags.sharp)) {
      return base::InvalidArgument(
          absl::StrCat("printf: %", flags.sharp ? "#" : "", written, " is not served"));
    }
    if (verb == 'v' && flags.plus) {
      flags.plus = false;
      flags.plus_v = true;
    }
    Printer printer(budget_, flags);
    RETURN_IF_ERROR(printer.Print(value, verb, 0));
    out_.Append(printer.Take());
    return absl::OkStatus();
  }

  absl::Status ReportExtra() {
    if (next_ >= values_.size()) return absl::OkStatus();
    out_.Append("%!(EXTRA ");
    for (size_t i = next_; i < values_.size(); ++i) {
      if (i > next_) out_.Append(", ");
      const bool nil = values_[i].is_nothing() || values_[i].is_nil();
      if (!nil) out_.Append(values_[i].type_name() + "=");
      Printer printer(budget_, {});
      RETURN_IF_ERROR(printer.Print(values_[i], 'v', 0));
      out_.Append(printer.Take());
    }
    out_.Append(")");
    return absl::OkStatus();
  }

  const Text& format_;
  const std::span<const Value> values_;
  Budget& budget_;
  Text out_;
  size_t at_ = 0;
  size_t next_ = 0;
  bool read_count_ = false;
};

}  // namespace

absl::StatusOr<std::optional<Text>> OwnWords(const Value& value, Budget& budget) {
  const Wording wording = value.is_list()     ? value.as_list().wording
                          : value.is_map()    ? value.as_map().wording
                          : value.is_struct() ? value.as_struct().wording
                                              : Wording::kNone;
  if (wording == Wording::kNone) return std::nullopt;
  if (wording == Wording::kJson) {
    if (value.is_map() && value.as_map().nil) return Text("{}");
    return ToJson(value, budget);
  }
  const std::span<const Value> words = value.as_list().values();
  if (words.empty()) return Text();
  if (words.size() == 1) return words.front().as_text();
  List plain{.items = {words.begin(), words.end()}};
  const Value list(std::move(plain));
  return Sprint({&list, 1}, budget);
}

absl::StatusOr<Text> Sprint(std::span<const Value> values, Budget& budget) {
  Text text;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0 && !values[i].is_string() && !values[i - 1].is_string()) text.Append(" ");
    Printer printer(budget, {});
    RETURN_IF_ERROR(printer.Print(values[i], 'v', 0));
    text.Append(printer.Take());
    if (text.bytes.size() > budget.limits().output_bytes_max) break;
  }
  RETURN_IF_ERROR(budget.String(text.bytes.size()));
  return text;
}

absl::StatusOr<Text> Sprintln(std::span<const Value> values, Budget& budget) {
  Text text;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text.Append(" ");
    Printer printer(budget, {});
    RETURN_IF_ERROR(printer.Print(values[i], 'v', 0));
    text.Append(printer.Take());
    if (text.bytes.size() > budget.limits().output_bytes_max) break;
  }
  text.Append("\n");
  RETURN_IF_ERROR(budget.String(text.bytes.size()));
  return text;
}

absl::StatusOr<Text> Sprintf(const Text& format, std::span<const Value> values, Budget& budget) {
  RETURN_IF_ERROR(budget.Bytes(format.bytes.size()));
  return Formatter(format, values, budget).Run();
}

absl::StatusOr<Text> Printed(const Value& value, Budget& budget) {
  if (value.is_nothing() || value.is_nil()) return Text("<no value>");
  if (value.is_string()) return value.as_text();
  if (value.is_struct() && value.as_struct().pointer) {
    // What it points to.
    Struct pointed = value.as_struct();
    pointed.pointer = false;
    const Value plain(std::move(pointed));
    return Sprint({&plain, 1}, budget);
  }
  return Sprint({&value, 1}, budget);
}

}  // namespace conclave::engine::gotmpl
