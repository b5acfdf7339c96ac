#include "engine/chat/go_lexer.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/chat/go_functions.h"
#include "engine/chat/jinja_lexer.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::gotmpl {
namespace {

using jinja::FailAt;

constexpr std::string_view kSpaces = " \t\r\n";

bool IsSpace(char c) { return kSpaces.find(c) != std::string_view::npos; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The value of an octal or hexadecimal escape of `digits` digits; false: not that many.
bool ReadDigits(std::string_view text, size_t* at, size_t digits, uint32_t base, uint32_t* value) {
  *value = 0;
  for (size_t i = 0; i < digits; ++i, ++*at) {
    if (*at >= text.size()) return false;
    const char c = absl::ascii_tolower(static_cast<unsigned char>(text[*at]));
    const uint32_t digit = IsDigit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
    if (digit >= base) return false;
    *value = *value * base + digit;
  }
  return true;
}

// One character or escape of a literal between `quote`s; appends what it stands for, and says what
// a rune literal would be worth.
bool ReadEscaped(std::string_view text, size_t* at, char quote, std::string* out, int64_t* rune) {
  constexpr std::string_view kLetters = "abfnrtv\\", kValues = "\a\b\f\n\r\t\v\\";
  if (text[*at] != '\\') {
    const DecodedScalar scalar = DecodeUtf8(text, *at);
    out->append(text.substr(*at, scalar.length));
    *rune = scalar.value == kInvalidScalar ? kReplacementScalar : scalar.value;
    *at += scalar.length;
    return text[*at - 1] != '\n';
  }
  if (++*at >= text.size()) return false;
  const char c = text[(*at)++];
  const size_t letter = kLetters.find(c);
  if (letter != std::string_view::npos || c == quote) {
    out->push_back(c == quote ? quote : kValues[letter]);
    *rune = static_cast<unsigned char>(out->back());
    return true;
  }
  uint32_t value = 0;
  if (c == 'x' || (c >= '0' && c <= '7')) {
    if (c != 'x') --*at;
    if (!ReadDigits(text, at, c == 'x' ? 2 : 3, c == 'x' ? 16 : 8, &value) || value > 0xFF) {
      return false;
    }
    out->push_back(static_cast<char>(value));
  } else if (c == 'u' || c == 'U') {
    if (!ReadDigits(text, at, c == 'u' ? 4 : 8, 16, &value)) return false;
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return false;
    AppendUtf8(value, out);
  } else {
    return false;
  }
  *rune = value;
  return true;
}

class Lexer final {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) RETURN_IF_ERROR(LexText());
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return source_.substr(at_); }
  bool AtTrimmedRight() const {
    return at_ + 1 < source_.size() && IsSpace(source_[at_]) &&
           source_.substr(at_ + 1).starts_with("-}}");
  }
  bool AtRight() const { return Rest().starts_with("}}") || AtTrimmedRight(); }
  absl::Status Fail(std::string_view what) const { return FailAt(line_, what); }
  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void Move(size_t bytes) {
    for (const char c : source_.substr(at_, bytes)) line_ += c == '\n';
    at_ += bytes;
  }
  void SkipSpaces() {
    while (at_ < source_.size() && IsSpace(source_[at_])) Move(1);
  }

  // Text up to the next action, and that action.
  absl::Status LexText() {
    const size_t found = Rest().find("{{");
    const std::string_view text = Rest().substr(0, found);
    const std::string_view opened = found == std::string_view::npos ? "" : Rest().substr(found + 2);
    const bool trims = opened.size() > 1 && opened[0] == '-' && IsSpace(opened[1]);
    std::string_view kept = text;
    if (trims) kept = kept.substr(0, kept.find_last_not_of(kSpaces) + 1);
    if (!kept.empty()) Add(TokenKind::kText, std::string(kept));
    Move(text.size());
    if (found == std::string_view::npos) return absl::OkStatus();
    Move(trims ? 4 : 2);
    if (Rest().starts_with("/*")) return LexComment();
    Add(TokenKind::kLeft, "");
    parens_ = 0;
    while (!AtRight()) {
      if (at_ >= source_.size()) return Fail("unclosed action");
      RETURN_IF_ERROR(LexInside());
    }
    if (parens_ > 0) return Fail("unclosed left paren");
    Add(TokenKind::kRight, "");
    CloseAction();
    return absl::OkStatus();
  }

  // Precondition: AtRight().
  void CloseAction() {
    const bool trims = AtTrimmedRight();
    Move(trims ? 4 : 2);
    if (trims) SkipSpaces();
  }

  absl::Status LexComment() {
    const size_t end = Rest().find("*/");
    if (end == std::string_view::npos) return Fail("unclosed comment");
    Move(end + 2);
    if (!AtRight()) return Fail("comment ends before closing delimiter");
    CloseAction();
    return absl::OkStatus();
  }

  absl::Status LexInside() {
    const char c = source_[at_];
    const char next = at_ + 1 < source_.size() ? source_[at_ + 1] : '\0';
    if (IsSpace(c)) {
      Add(TokenKind::kSpace, "");
      while (at_ < source_.size() && IsSpace(source_[at_]) && !AtTrimmedRight()) Move(1);
      return absl::OkStatus();
    }
    if (c == '"') return LexString();
    if (c == '`') return LexRaw();
    if (c == '\'') return LexRune();
    if (c == '$') return LexName(TokenKind::kVariable, 1);
    if (c == '.' && !IsDigit(next)) return LexName(TokenKind::kField, 1);
    if (c == '.' || c == '+' || c == '-' || IsDigit(c)) return LexNumber();
    if (WordScalarBytes(at_) > 0) return LexName(TokenKind::kWord, 0);
    if (c == ':' && next == '=') {
      Add(TokenKind::kOperator, ":=");
      Move(2);
      return absl::OkStatus();
    }
    if (c == '(') ++parens_;
    if (c == ')' && --parens_ < 0) return Fail("unexpected right paren");
    if (std::string_view("()|,=").find(c) == std::string_view::npos) {
      if (c == ':') return Fail("expected :=");
      return Fail(absl::StrCat("unrecognized character in action: ",
                               c > ' ' && c < 127 ? std::string(1, c) : "?"));
    }
    Add(TokenKind::kOperator, std::string(1, c));
    Move(1);
    return absl::OkStatus();
  }

  // Of the letter, digit or underscore at `at`; 0: something else is there.
  size_t WordScalarBytes(size_t at) const {
    if (at >= source_.size()) return 0;
    const DecodedScalar scalar = DecodeUtf8(source_, at);
    if (scalar.value == '_') return 1;
    if (scalar.value == kInvalidScalar) return 0;
    const Category category = CategoryOf(scalar.value);
    return IsLetter(category) || category == Category::kNd ? scalar.length : 0;
  }
  // Of all of them from `begin` on.
  size_t WordBytes(size_t begin) const {
    size_t end = begin;
    while (const size_t bytes = WordScalarBytes(end)) end += bytes;
    return end - begin;
  }

  bool AtTerminator() const {
    return at_ >= source_.size() || IsSpace(source_[at_]) || AtRight() ||
           std::string_view(".,|:()").find(source_[at_]) != std::string_view::npos;
  }

  // A word behind `prefix` bytes.
  absl::Status LexName(TokenKind kind, size_t prefix) {
    const size_t bytes = WordBytes(at_ + prefix);
    std::string text(source_.substr(at_ + prefix, bytes));
    if (kind == TokenKind::kVariable) text = "$" + text;
    Move(prefix + bytes);
    if (!AtTerminator()) return Fail("bad character in a name");
    const bool dot = kind == TokenKind::kField && bytes == 0;
    Add(dot ? TokenKind::kDot : kind, std::move(text));
    return absl::OkStatus();
  }

  absl::Status LexNumber() {
    size_t end = at_ + 1;
    bool hex = false;
    while (end < source_.size()) {
      const char c = source_[end];
      const char before = absl::ascii_tolower(static_cast<unsigned char>(source_[end - 1]));
      const bool sign = (c == '+' || c == '-') && before == (hex ? 'p' : 'e');
      if (c != '.' && !sign && WordScalarBytes(end) == 0) break;
      hex = hex || c == 'x' || c == 'X';
      ++end;
    }
    Add(TokenKind::kNumber, std::string(source_.substr(at_, end - at_)));
    Move(end - at_);
    return AtTerminator() ? absl::OkStatus() : Fail("bad number syntax");
  }

  absl::Status LexString() {
    std::string value;
    size_t at = at_ + 1;
    while (at < source_.size() && source_[at] != '"') {
      int64_t rune = 0;
      if (source_[at] == '\n') break;
      if (!ReadEscaped(source_, &at, '"', &value, &rune)) return Fail("bad escape in a string");
    }
    if (at >= source_.size() || source_[at] != '"') return Fail("unterminated quoted string");
    Add(TokenKind::kString, std::move(value));
    Move(at + 1 - at_);
    return absl::OkStatus();
  }

  absl::Status LexRaw() {
    const size_t end = source_.find('`', at_ + 1);
    if (end == std::string_view::npos) return Fail("unterminated raw quoted string");
    std::string value;  // Go drops carriage returns
    for (const char c : source_.substr(at_ + 1, end - at_ - 1)) {
      if (c != '\r') value.push_back(c);
    }
    Add(TokenKind::kString, std::move(value));
    Move(end + 1 - at_);
    return absl::OkStatus();
  }

  absl::Status LexRune() {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != '\'' && source_[end] != '\n') {
      end += source_[end] == '\\' ? 2 : 1;
    }
    if (end >= source_.size() || source_[end] != '\'')
      return Fail("unterminated character constant");
    Add(TokenKind::kRune, std::string(source_.substr(at_, end + 1 - at_)));
    Move(end + 1 - at_);
    return absl::OkStatus();
  }

  const std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  int parens_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

bool ReadRune(std::string_view quoted, int64_t* value) {
  if (quoted.size() < 3) return false;
  const std::string_view inner = quoted.substr(1, quoted.size() - 2);
  std::string text;
  size_t at = 0;
  return ReadEscaped(inner, &at, '\'', &text, value) && at == inner.size();
}

bool LooksLikeGo(std::string_view source) {
  constexpr std::string_view kKeywords[] = {"if",     "range",    "with",  "end",   "else",
                                            "define", "template", "block", "break", "continue"};
  for (size_t at = source.find("{{"); at != std::string_view::npos;
       at = source.find("{{", at + 2)) {
    std::string_view action = source.substr(at + 2);
    if (action.starts_with('-')) action.remove_prefix(1);
    action.remove_prefix(std::min(action.find_first_not_of(kSpaces), action.size()));
    if (action.starts_with('.') || action.starts_with('$') || action.starts_with("/*")) return true;
    size_t word = 0;
    while (word < action.size() && absl::ascii_isalpha(static_cast<unsigned char>(action[word])))
      ++word;
    const std::string_view behind = action.substr(word);
    const bool alone = behind.empty() || IsSpace(behind[0]) || behind.starts_with("}}");
    for (const std::string_view keyword : kKeywords) {
      if (alone && action.substr(0, word) == keyword) return true;
    }
    // {{ json .Tools }} is also Jinja's, but nobody writes json.Tools so.
    if (!alone || FindFunction(action.substr(0, word)) == nullptr) continue;
    const size_t argument = behind.find_first_not_of(kSpaces);
    if (argument != std::string_view::npos &&
        (behind[argument] == '.' || behind[argument] == '$')) {
      return true;
    }
  }
  return false;
}

}  // namespace conclave::engine::gotmpl
