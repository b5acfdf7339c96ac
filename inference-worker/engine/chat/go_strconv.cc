#include "engine/chat/go_strconv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::gotmpl {
namespace {

void AppendQuotedScalar(std::string_view bytes, uint32_t scalar, char quote, bool ascii,
                        std::string* out) {
  constexpr std::string_view kSpecial = "\a\b\f\n\r\t\v", kLetters = "abfnrtv";
  if (scalar == kInvalidScalar) {
    absl::StrAppendFormat(out, "\\x%02x", static_cast<unsigned char>(bytes[0]));
    return;
  }
  if (scalar == static_cast<uint32_t>(quote) || scalar == '\\') {
    out->append({'\\', static_cast<char>(scalar)});
    return;
  }
  if (ascii ? scalar < 0x7F && scalar >= 0x20 : IsPrintable(scalar)) {
    out->append(bytes);
    return;
  }
  const size_t special =
      scalar < 0x80 ? kSpecial.find(static_cast<char>(scalar)) : std::string_view::npos;
  if (special != std::string_view::npos) {
    out->append({'\\', kLetters[special]});
  } else if (scalar < 0x20 || scalar == 0x7F) {
    absl::StrAppendFormat(out, "\\x%02x", scalar);
  } else if (scalar < 0x10000) {
    absl::StrAppendFormat(out, "\\u%04x", scalar);
  } else {
    absl::StrAppendFormat(out, "\\U%08x", scalar);
  }
}

// The shortest digits that read back the same, filled up with zeros.
std::string Shortest(double value, char form) {
  char buffer[40];
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  static_cast<void>(error);
  const std::string scientific(buffer, end);
  if (form == 'e') return scientific;
  const size_t mark = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + mark + 1);
  std::string digits;
  for (const char c : scientific.substr(0, mark)) {
    if (c != '.' && c != '-') digits.push_back(c);
  }
  std::string text = scientific[0] == '-' ? "-" : "";
  if (exponent < 0)
    return text + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return text + digits + std::string(whole - digits.size(), '0');
  return text + digits.substr(0, whole) + "." + digits.substr(whole);
}

}  // namespace

std::string Quoted(std::string_view text, char quote, bool ascii) {
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    AppendQuotedScalar(text.substr(at, scalar.length), scalar.value, quote, ascii, &out);
    at += scalar.length;
  }
  out.push_back(quote);
  return out;
}

bool CanBackquote(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    at += scalar.length;
    const bool control = scalar.value < ' ' && scalar.value != '\t';
    if (control || scalar.value == '`' || scalar.value == 0x7F || scalar.value == 0xFEFF ||
        scalar.value == kInvalidScalar) {
      return false;
    }
  }
  return true;
}

bool IsPrintable(uint32_t scalar) {
  if (scalar == ' ') return true;
  if (scalar == kInvalidScalar) return false;
  const Category c = CategoryOf(scalar);
  return IsLetter(c) || IsMark(c) || IsNumber(c) || IsPunctuation(c) || IsSymbol(c);
}

std::string FormatFloat(double value, char form, int precision) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Inf" : "+Inf";
  const bool upper = form == 'E' || form == 'G';
  std::string text;
  if (precision >= 0) {
    const std::string format = absl::StrCat("%.*", std::string(1, form));
    const int size = std::snprintf(nullptr, 0, format.c_str(), precision, value);
    text.resize(static_cast<size_t>(size) + 1);
    std::snprintf(text.data(), text.size(), format.c_str(), precision, value);
    text.pop_back();
    return text;
  }
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(form));
  if (lower == 'g') {
    const std::string scientific = Shortest(value, 'e');
    const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
    constexpr int kExponentMin = -4, kExponentEnd = 6;
    const bool as_exponent = exponent < kExponentMin || exponent >= kExponentEnd;
    text = as_exponent ? scientific : Shortest(value, 'f');
  } else {
    text = Shortest(value, lower);
  }
  if (upper) absl::AsciiStrToUpper(&text);
  return text;
}

void KeepZeros(int digits, std::string* text) {
  const size_t exponent = std::min(text->find_first_of("eE"), text->size());
  const std::string_view number = std::string_view(*text).substr(0, exponent);
  const size_t first = number.find_first_of("123456789");
  int shown =
      number.find_first_of("0123456789") == number.size() - 1 && first == number.npos ? 1 : 0;
  for (const char c : number.substr(std::min(first, number.size()))) shown += c != '.';
  std::string added = number.find('.') == number.npos ? "." : "";
  if (digits > shown) added.append(static_cast<size_t>(digits - shown), '0');
  text->insert(exponent, added);
}

bool UnderscoresFit(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') continue;
    const bool inside = i > 0 && i + 1 < text.size();
    if (!inside || !absl::ascii_isalnum(static_cast<unsigned char>(text[i - 1])) ||
        !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1]))) {
      return false;
    }
  }
  return true;
}

bool ReadInteger(std::string_view text, int64_t* value) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char mark = absl::ascii_tolower(static_cast<unsigned char>(text[1]));
    base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
    text.remove_prefix(base == 8 && mark != 'o' ? 1 : 2);
  }
  const std::string digits = absl::StrCat(negative ? "-" : "", std::string(text));
  if (text.empty() || text[0] == '-' || text[0] == '+') return false;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), *value, base);
  return error == std::errc() && end == digits.data() + digits.size();
}

}  // namespace conclave::engine::gotmpl
