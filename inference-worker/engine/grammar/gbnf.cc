#include "engine/grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::grammar {
namespace {

constexpr size_t kTextBytesMax = 256u << 10;
constexpr int kDepthMax = 64;
constexpr uint32_t kScalarMax = 0x10FFFF;

class Parser final {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<Rules> Parse() {
    SkipSpace(/*newlines=*/true);
    while (!AtEnd()) {
      RETURN_IF_ERROR(ParseRule());
      RETURN_IF_ERROR(rules_.status());
      SkipSpace(/*newlines=*/true);
    }
    const auto root = ids_.find("root");
    if (root == ids_.end()) return base::InvalidArgument("there is no rule \"root\"");
    rules_.root = root->second;
    for (const auto& [name, rule] : ids_) {
      if (rules_.body(rule) >= 0) continue;
      return base::InvalidArgument(
          absl::StrCat("line ", first_use_[name], ": the rule \"", name, "\" is not defined"));
    }
    return std::move(rules_);
  }

 private:
  absl::Status Wrong(std::string_view what) const {
    return base::InvalidArgument(absl::StrCat("line ", Line(), ": ", std::string(what)));
  }
  std::ptrdiff_t Line() const {
    return 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n');
  }
  bool AtEnd() const { return at_ >= text_.size(); }
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool Take(std::string_view text) {
    if (!text_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }

  void SkipSpace(bool newlines) {
    for (; !AtEnd(); ++at_) {
      const char c = Peek();
      if (c == '#') {
        while (!AtEnd() && Peek() != '\n' && Peek() != '\r') ++at_;
        if (AtEnd()) return;
      }
      const bool newline = Peek() == '\n' || Peek() == '\r';
      if (newline ? !newlines : Peek() != ' ' && Peek() != '\t') return;
    }
  }

  static bool IsNameChar(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  }
  std::string TakeName() {
    const size_t begin = at_;
    while (IsNameChar(Peek())) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  RuleId RuleOf(const std::string& name) {
    const auto [found, is_new] = ids_.try_emplace(name, 0);
    if (is_new) {
      found->second = rules_.AddRule(name);
      first_use_[name] = Line();
    }
    return found->second;
  }

  absl::Status ParseRule() {
    const std::string name = TakeName();
    if (name.empty()) return Wrong("expected the name of a rule");
    SkipSpace(/*newlines=*/false);
    if (!Take("::=")) return Wrong(absl::StrCat("expected ::= after \"", name, "\""));
    SkipSpace(/*newlines=*/true);
    const RuleId rule = RuleOf(name);
    if (rules_.full()) return rules_.status();
    if (rules_.body(rule) >= 0) return Wrong(absl::StrCat("\"", name, "\" is defined twice"));
    ASSIGN_OR_RETURN(const ExprId body, ParseChoice(0));
    rules_.Define(rule, body);
    SkipSpace(/*newlines=*/false);
    if (AtEnd() || Peek() == '\n' || Peek() == '\r') return absl::OkStatus();
    return Wrong(absl::StrCat("did not expect ", Shown(), " here"));
  }

  std::string Shown() const {
    const DecodedScalar scalar = DecodeUtf8(text_, at_);
    if (scalar.value == kInvalidScalar) return "a byte that is not UTF-8";
    return absl::StrCat("'", std::string(text_.substr(at_, scalar.length)), "'");
  }

  absl::StatusOr<ExprId> ParseChoice(int depth) {
    if (depth > kDepthMax) return Wrong(absl::StrCat("nested deeper than ", kDepthMax));
    std::vector<ExprId> parts;
    do {
      SkipSpace(/*newlines=*/true);
      ASSIGN_OR_RETURN(const ExprId part, ParseSequence(depth));
      parts.push_back(part);
    } while (TakeBar(depth));
    return rules_.Choice(std::move(parts));
  }

  // A bar here, or at the beginning of a following line.
  bool TakeBar(int depth) {
    if (Take("|")) return true;
    if (depth > 0) return false;
    const size_t before = at_;
    SkipSpace(/*newlines=*/true);
    if (Take("|")) return true;
    at_ = before;
    return false;
  }

  absl::StatusOr<ExprId> ParseSequence(int depth) {
    std::vector<ExprId> parts;
    while (true) {
      SkipSpace(/*newlines=*/depth > 0);
      if (AtEnd() || rules_.full()) break;
      const char c = Peek();
      if (c != '"' && c != '[' && c != '(' && c != '.' && !IsNameChar(c)) {
        if (c == '<' || c == '!') return Wrong("tokens by name or number are not supported");
        break;
      }
      ASSIGN_OR_RETURN(ExprId part, ParseAtom(depth));
      ASSIGN_OR_RETURN(part, ParseRepeats(part));
      parts.push_back(part);
    }
    return parts.empty() ? rules_.Text("") : rules_.Sequence(std::move(parts));
  }

  absl::StatusOr<ExprId> ParseAtom(int depth) {
    switch (Peek()) {
      case '"':
        return ParseLiteral();
      case '[':
        return ParseClass();
      case '.':
        ++at_;
        return rules_.Set({{0, kScalarMax}});
      case '(': {
        ++at_;
        ASSIGN_OR_RETURN(const ExprId inner, ParseChoice(depth + 1));
        SkipSpace(/*newlines=*/true);
        if (!Take(")")) return Wrong("expected )");
        return inner;
      }
      default:
        return rules_.Call(RuleOf(TakeName()));
    }
  }

  absl::StatusOr<ExprId> ParseRepeats(ExprId part) {
    while (true) {
      if (Take("?")) {
        part = rules_.Optional(part);
      } else if (Take("*")) {
        part = rules_.Repeat(part, 0, Rules::kUnbounded);
      } else if (Take("+")) {
        part = rules_.Repeat(part, 1, Rules::kUnbounded);
      } else if (Take("{")) {
        ASSIGN_OR_RETURN(part, ParseCount(part));
      } else {
        return part;
      }
      if (rules_.full()) return rules_.status();
    }
  }

  absl::StatusOr<ExprId> ParseCount(ExprId part) {
    SkipSpace(false);
    ASSIGN_OR_RETURN(const std::optional<int32_t> min, TakeCount());
    SkipSpace(false);
    std::optional<int32_t> max = min;
    bool bounded = true;
    if (Take(",")) {
      SkipSpace(false);
      ASSIGN_OR_RETURN(max, TakeCount());
      bounded = max.has_value();
      SkipSpace(false);
    }
    if (!Take("}") || (!min && !max)) return Wrong("expected {n}, {n,}, {,m} or {n,m}");
    if (!bounded) return rules_.Repeat(part, *min, Rules::kUnbounded);
    if (*max < min.value_or(0)) return Wrong("a count whose end is before its beginning");
    return rules_.Repeat(part, min.value_or(0), *max);
  }

  absl::StatusOr<std::optional<int32_t>> TakeCount() {
    std::optional<int32_t> count;
    for (; Peek() >= '0' && Peek() <= '9'; ++at_) {
      count = count.value_or(0) * 10 + (Peek() - '0');
      if (*count > Rules::kCountMax) {
        return Wrong(absl::StrCat("a count over ", Rules::kCountMax));
      }
    }
    return count;
  }

  absl::StatusOr<ExprId> ParseLiteral() {
    ++at_;
    std::string text;
    while (Peek() != '"') {
      ASSIGN_OR_RETURN(const uint32_t scalar, TakeScalar("the literal"));
      AppendUtf8(scalar, &text);
    }
    ++at_;
    return rules_.Text(text);
  }

  absl::StatusOr<ExprId> ParseClass() {
    ++at_;
    const bool negated = Take("^");
    std::vector<CodeRange> ranges;
    while (Peek() != ']') {
      ASSIGN_OR_RETURN(const uint32_t first, TakeScalar("the class"));
      uint32_t last = first;
      if (Peek() == '-' && Peek(1) != ']') {
        ++at_;
        ASSIGN_OR_RETURN(last, TakeScalar("the class"));
        if (last < first) return Wrong("a range whose end is before its beginning");
      }
      ranges.push_back({first, last});
    }
    ++at_;
    return rules_.Set(negated ? Complement(ranges) : std::move(ranges));
  }

  absl::StatusOr<uint32_t> TakeScalar(std::string_view where) {
    if (AtEnd()) return Wrong(absl::StrCat("the text ends within ", std::string(where)));
    if (Peek() == '\\') return TakeEscape();
    const DecodedScalar scalar = DecodeUtf8(text_, at_);
    if (scalar.value == kInvalidScalar) return Wrong("not UTF-8");
    at_ += scalar.length;
    return scalar.value;
  }

  absl::StatusOr<uint32_t> TakeEscape() {
    ++at_;
    const char letter = Peek();
    ++at_;
    switch (letter) {
      case 'x':
        return TakeHex(2);
      case 'u':
        return TakeHex(4);
      case 'U':
        return TakeHex(8);
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'n':
        return '\n';
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<uint32_t>(letter);
      default:
        --at_;
        return Wrong("unknown escape");
    }
  }

  absl::StatusOr<uint32_t> TakeHex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = Peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return Wrong("expected a hexadecimal digit");
      value = value << 4 | static_cast<uint32_t>(digit);
      if (value > kScalarMax) return Wrong("beyond the last character of Unicode");
    }
    if (value >= 0xD800 && value <= 0xDFFF) return Wrong("a surrogate is no character");
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
  Rules rules_;
  std::map<std::string, RuleId> ids_;
  std::map<std::string, std::ptrdiff_t> first_use_;
};

}  // namespace

absl::StatusOr<Rules> ParseGbnf(std::string_view text) {
  if (text.size() > kTextBytesMax) return base::InvalidArgument("longer than 256 KiB");
  return Parser(text).Parse();
}

}  // namespace conclave::engine::grammar
