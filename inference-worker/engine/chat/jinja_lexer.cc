#include "engine/chat/jinja_lexer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/chat/jinja_text.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

// Longer operators before their beginnings.
constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/",
                                           "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                           ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

constexpr size_t kDigitsMax = 4300;  // of an integer, as Python has it

bool IsNameStart(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

// Newlines of every system become \n; the last one of the source is dropped.
std::string Normalized(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      text.push_back('\n');
    } else {
      text.push_back(source[i]);
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer final {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) RETURN_IF_ERROR(NextPart());
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return std::string_view(source_).substr(at_); }
  void Push(TokenKind kind, std::string text) {
    tokens_.push_back({.kind = kind, .text = std::move(text), .line = line_});
  }
  // Moves on and counts lines.
  void Advance(size_t count) {
    const auto from = source_.begin() + static_cast<ptrdiff_t>(at_);
    line_ += static_cast<int>(std::count(from, from + static_cast<ptrdiff_t>(count), '\n'));
    if (count > 0) line_starts_ = source_[at_ + count - 1] == '\n';
    at_ += count;
  }
  void SkipSpaces() { Advance(Rest().size() - StripLeft(Rest()).size()); }

  // Text up to the next tag, then the tag.
  absl::Status NextPart() {
    size_t begin = source_.find('{', at_);
    while (begin != std::string::npos && !IsTagStart(begin)) begin = source_.find('{', begin + 1);
    if (begin == std::string::npos) {
      PushData(Rest());
      Advance(Rest().size());
      return absl::OkStatus();
    }
    const char kind = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    std::string_view data = Rest().substr(0, begin - at_);
    if (sign == '-') {
      data = StripRight(data);
    } else if (sign != '+' && kind != '{') {
      data = WithoutIndent(data);
    }
    PushData(data);
    Advance(begin - at_);
    const int opening_line = line_;
    Advance(sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') return Comment(opening_line);
    if (kind == '%' && IsRaw()) return Raw(opening_line);
    tokens_.push_back({.kind = kind == '{' ? TokenKind::kOutputBegin : TokenKind::kBlockBegin,
                       .text = "",
                       .line = opening_line});
    return Inside(kind, opening_line);
  }
  bool IsTagStart(size_t at) const {
    const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
    return next == '{' || next == '%' || next == '#';
  }
  // lstrip_blocks: spaces that are all there is on the line before a block go away.
  std::string_view WithoutIndent(std::string_view data) const {
    const size_t newline = data.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starts_) return data;
    return StripLeft(data.substr(line)).empty() ? data.substr(0, line) : data;
  }
  void PushData(std::string_view data) {
    if (!data.empty()) Push(TokenKind::kData, std::string(data));
  }

  absl::Status Comment(int opening_line) {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) return FailAt(opening_line, "comment is not closed");
    const bool strips = end > at_ && source_[end - 1] == '-';
    const bool keeps = end > at_ && source_[end - 1] == '+';
    Advance(end + 2 - at_);
    AfterTag(strips, keeps);
    return absl::OkStatus();
  }
  // trim_blocks: the newline after a block or a comment goes away.
  void AfterTag(bool strips, bool keeps) {
    if (strips) {
      SkipSpaces();
    } else if (!keeps && Rest().starts_with('\n')) {
      Advance(1);
    }
  }

  bool IsRaw() const {
    const std::string_view rest = StripLeft(Rest());
    return rest.starts_with("raw") && (rest.size() == 3 || !IsNamePart(rest[3]));
  }
  absl::Status Raw(int opening_line) {
    const size_t head_end = source_.find("%}", at_);
    if (head_end == std::string::npos) return FailAt(opening_line, "tag is not closed");
    const bool strips = source_[head_end - 1] == '-', keeps = source_[head_end - 1] == '+';
    Advance(head_end + 2 - at_);
    AfterTag(strips, keeps);
    for (size_t begin = source_.find("{%", at_); begin != std::string::npos;
         begin = source_.find("{%", begin + 2)) {
      std::string_view tag = std::string_view(source_).substr(begin + 2);
      const char sign = tag.empty() ? '\0' : tag.front();
      if (sign == '-' || sign == '+') tag.remove_prefix(1);
      tag = StripLeft(tag);
      if (!tag.starts_with("endraw")) continue;
      tag = StripLeft(tag.substr(6));
      const bool end_strips = tag.starts_with('-'), end_keeps = tag.starts_with('+');
      if (end_strips || end_keeps) tag.remove_prefix(1);
      if (!tag.starts_with("%}")) continue;
      std::string_view data = Rest().substr(0, begin - at_);
      PushData(sign == '-' ? StripRight(data) : sign == '+' ? data : WithoutIndent(data));
      Advance(static_cast<size_t>(tag.data() + 2 - source_.data()) - at_);
      AfterTag(end_strips, end_keeps);
      return absl::OkStatus();
    }
    return FailAt(opening_line, "raw block is not closed");
  }

  // Tokens up to the end of the tag.
  absl::Status Inside(char kind, int opening_line) {
    const std::string_view closing = kind == '{' ? "}}" : "%}";
    std::string open;  // brackets not closed yet
    for (;;) {
      SkipSpaces();
      if (at_ >= source_.size()) return FailAt(opening_line, "tag is not closed");
      if (open.empty()) {
        const char sign = Rest().front();
        const bool signed_end =
            (sign == '-' || (sign == '+' && kind == '%')) && Rest().substr(1).starts_with(closing);
        if (signed_end || Rest().starts_with(closing)) {
          Push(kind == '{' ? TokenKind::kOutputEnd : TokenKind::kBlockEnd, "");
          Advance(signed_end ? 3 : 2);
          const bool strips = signed_end && sign == '-';
          AfterTag(strips, kind == '{' || signed_end);
          return absl::OkStatus();
        }
      }
      RETURN_IF_ERROR(OneToken(&open));
    }
  }

  absl::Status OneToken(std::string* open) {
    const char c = Rest().front();
    if (IsNameStart(c)) {
      size_t end = at_;
      while (end < source_.size() && IsNamePart(source_[end])) ++end;
      Push(TokenKind::kName, source_.substr(at_, end - at_));
      Advance(end - at_);
      return absl::OkStatus();
    }
    if (IsDigit(c)) return Number();
    if (c == '"' || c == '\'') return String(c);
    for (const std::string_view op : kOperators) {
      if (!Rest().starts_with(op)) continue;
      RETURN_IF_ERROR(Balance(op, open));
      Push(TokenKind::kOperator, std::string(op));
      Advance(op.size());
      return absl::OkStatus();
    }
    return FailAt(line_, absl::StrCat("unexpected character '", std::string(1, c), "'"));
  }
  absl::Status Balance(std::string_view op, std::string* open) const {
    const char c = op.front();
    if (op.size() > 1) return absl::OkStatus();
    if (c == '(' || c == '[' || c == '{') open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c != ')' && c != ']' && c != '}') return absl::OkStatus();
    if (open->empty() || open->back() != c) {
      return FailAt(line_, absl::StrCat("unexpected '", std::string(1, c), "'"));
    }
    open->pop_back();
    return absl::OkStatus();
  }

  absl::Status Number() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (IsDigit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool real = false;
    if (end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) {
        ++exponent;
      }
      if (exponent < source_.size() && IsDigit(source_[exponent])) {
        real = true;
        end = exponent;
        digits();
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    Push(real ? TokenKind::kFloat : TokenKind::kInteger, text);
    Token& token = tokens_.back();
    const char* last = text.data() + text.size();
    const bool good = real ? std::from_chars(text.data(), last, token.real).ec == std::errc()
                           : text.size() <= kDigitsMax;
    if (!good) return FailAt(line_, "number out of range");
    Advance(end - at_);
    return absl::OkStatus();
  }

  absl::Status String(char quote) {
    const int opening_line = line_;
    std::string value;
    size_t at = at_ + 1;
    while (at < source_.size() && source_[at] != quote) {
      if (source_[at] != '\\') {
        value.push_back(source_[at++]);
      } else {
        RETURN_IF_ERROR(Escape(&at, &value));
      }
    }
    if (at >= source_.size()) return FailAt(opening_line, "string is not closed");
    Push(TokenKind::kString, std::move(value));
    Advance(at + 1 - at_);
    return absl::OkStatus();
  }
  // The escapes of Python's string literals; unknown ones stay as they are.
  absl::Status Escape(size_t* at, std::string* value) const {
    const char c = *at + 1 < source_.size() ? source_[*at + 1] : '\0';
    constexpr std::string_view kLetters = "abfnrtv\\'\"";
    constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
    const size_t simple = kLetters.find(c);
    const size_t hex_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c != '\0' && simple != std::string_view::npos) {
      value->push_back(kValues[simple]);
      *at += 2;
    } else if (c == '\n') {
      *at += 2;
    } else if (c >= '0' && c <= '7') {
      uint32_t scalar = 0;
      size_t end = *at + 1;
      for (; end < *at + 4 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7';
           ++end) {
        scalar = scalar * 8 + static_cast<uint32_t>(source_[end] - '0');
      }
      AppendUtf8(scalar, value);
      *at = end;
    } else if (hex_digits > 0) {
      uint32_t scalar = 0;
      const char* first = source_.data() + *at + 2;
      const char* last =
          first + std::min(hex_digits, source_.size() - std::min(source_.size(), *at + 2));
      const auto end = std::from_chars(first, last, scalar, 16);
      const bool surrogate = scalar >= 0xD800 && scalar < 0xE000;
      if (end.ptr != first + hex_digits || scalar > 0x10FFFF || surrogate) {
        return FailAt(line_, "bad escape in string");
      }
      AppendUtf8(scalar, value);
      *at += 2 + hex_digits;
    } else {
      value->push_back('\\');
      *at += 1;
    }
    return absl::OkStatus();
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // at_ is the first byte of a line
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  return Lexer(Normalized(source)).Run();
}

absl::Status AtLine(int line, const absl::Status& status) {
  if (status.ok() || base::Std(status.message()).starts_with("line ")) return status;
  return FailAt(line, base::Std(status.message()));
}

absl::Status FailAt(int line, std::string_view message) {
  return base::InvalidArgument(absl::StrCat("line ", line, ": ", base::Abs(message)));
}

}  // namespace conclave::engine::jinja
