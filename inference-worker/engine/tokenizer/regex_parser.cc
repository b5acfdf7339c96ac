#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/regex_syntax.h"

namespace conclave::engine::regex {
namespace {

using NodePtr = std::unique_ptr<Node>;

constexpr size_t kPatternBytesMax = 16 << 10;
constexpr int kDepthMax = 64;
constexpr uint32_t kCountMax = 1000;

NodePtr Make(NodeKind kind) {
  auto node = std::make_unique<Node>();
  node->kind = kind;
  return node;
}

NodePtr Assertion(Op op) {
  NodePtr node = Make(NodeKind::kAssertion);
  node->assertion = op;
  return node;
}

// Options as they stand at one place of the expression.
struct Options {
  bool any_case = false;    // i
  bool dot_is_all = false;  // m, as Ruby has it
};

class Parser final {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<NodePtr> Parse() {
    ASSIGN_OR_RETURN(NodePtr tree, ParseChoice({}, 0));
    if (at_ < pattern_.size()) return Wrong("unmatched )");
    return tree;
  }

 private:
  absl::Status Wrong(std::string_view what) const {
    return base::InvalidArgument(
        absl::StrCat("regular expression, byte ", at_, ": ", std::string(what)));
  }
  absl::Status Unknown(std::string_view what) const {
    return base::Unimplemented(absl::StrCat("regular expression, byte ", at_, ": ",
                                            std::string(what), " is not supported"));
  }

  bool AtEnd() const { return at_ >= pattern_.size(); }
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  bool Take(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  absl::StatusOr<uint32_t> TakeScalar() {
    const DecodedScalar scalar = DecodeUtf8(pattern_, at_);
    if (scalar.value == kInvalidScalar) return Wrong("not UTF-8");
    at_ += scalar.length;
    return scalar.value;
  }

  absl::StatusOr<NodePtr> ParseChoice(Options options, int depth) {
    if (depth > kDepthMax) return Wrong("nested deeper than 64");
    NodePtr choice = Make(NodeKind::kChoice);
    do {
      ASSIGN_OR_RETURN(NodePtr branch, ParseSequence(options, depth));
      choice->children.push_back(std::move(branch));
    } while (Take("|"));
    if (choice->children.size() == 1) return std::move(choice->children[0]);
    return choice;
  }

  absl::StatusOr<NodePtr> ParseSequence(Options options, int depth) {
    NodePtr sequence = Make(NodeKind::kSequence);
    while (!AtEnd() && Peek() != '|' && Peek() != ')') {
      if (Take("(?#")) {
        while (!AtEnd() && Peek() != ')') ++at_;
        if (!Take(")")) return Wrong("unfinished comment");
        continue;
      }
      ASSIGN_OR_RETURN(NodePtr atom, ParseAtom(options, depth));
      ASSIGN_OR_RETURN(atom, ParseQuantifiers(std::move(atom), depth));
      sequence->children.push_back(std::move(atom));
    }
    return sequence;
  }

  absl::StatusOr<NodePtr> ParseAtom(Options options, int depth) {
    switch (Peek()) {
      case '(':
        ++at_;
        return ParseGroup(options, depth);
      case '[':
        ++at_;
        return ParseClassNode(options, depth);
      case '.': {
        ++at_;
        NodePtr any = Make(NodeKind::kSet);
        any->set.negated = true;  // of nothing, or of the newline
        if (!options.dot_is_all) any->set.ranges = {{'\n', '\n'}};
        return any;
      }
      case '^':
        ++at_;
        return Assertion(Op::kLineBegin);
      case '$':
        ++at_;
        return Assertion(Op::kLineEnd);
      case '\\':
        ++at_;
        return ParseEscape(options);
      case '*':
      case '+':
      case '?':
        return Wrong("nothing to repeat");
      default:
        break;
    }
    ASSIGN_OR_RETURN(const uint32_t scalar, TakeScalar());
    return Scalar(scalar, options);
  }

  static NodePtr Scalar(uint32_t scalar, Options options) {
    NodePtr node = Make(NodeKind::kScalar);
    node->any_case = options.any_case;
    node->value = options.any_case ? FoldCase(scalar) : scalar;
    return node;
  }
  static NodePtr Set(CharSet set, Options options) {
    NodePtr node = Make(NodeKind::kSet);
    node->set = std::move(set);
    node->set.any_case = options.any_case;
    return node;
  }

  absl::StatusOr<NodePtr> ParseGroup(Options options, int depth) {
    NodePtr around;
    if (Take("?:") || (Peek() != '?')) {
      // a group, whether it captures or not
    } else if (Take("?=") || Take("?!")) {
      around = Make(NodeKind::kAhead);
      around->negated = pattern_[at_ - 1] == '!';
    } else if (Take("?<=") || Take("?<!")) {
      around = Make(NodeKind::kBehind);
      around->negated = pattern_[at_ - 1] == '!';
    } else if (Take("?>")) {
      around = Make(NodeKind::kAtomic);
    } else if (Take("?<")) {
      while (!AtEnd() && Peek() != '>') ++at_;
      if (!Take(">")) return Wrong("unfinished name of a group");
    } else {
      ++at_;  // the question mark
      ASSIGN_OR_RETURN(options, ParseOptions(options));
      if (Peek() == ')') {  // (?i) reaches to the end of the group it stands in
        ++at_;
        return ParseChoice(options, depth + 1);
      }
      if (!Take(":")) return Unknown("this kind of group");
    }
    ASSIGN_OR_RETURN(NodePtr inner, ParseChoice(options, depth + 1));
    if (!Take(")")) return Wrong("missing )");
    if (around == nullptr) return inner;
    around->children.push_back(std::move(inner));
    return around;
  }

  absl::StatusOr<Options> ParseOptions(Options options) {
    bool on = true;
    for (;; ++at_) {
      const char letter = Peek();
      if (letter == '-') {
        on = false;
      } else if (letter == 'i') {
        options.any_case = on;
      } else if (letter == 'm') {
        options.dot_is_all = on;
      } else if (letter == ')' || letter == ':') {
        return options;
      } else {
        return Unknown("this option of a group");
      }
    }
  }

  absl::StatusOr<NodePtr> ParseQuantifiers(NodePtr atom, int depth) {
    for (int nested = 0;; ++nested) {
      if (depth + nested > kDepthMax) return Wrong("nested deeper than 64");
      uint32_t min = 0, max = Node::kUnbounded;
      bool counted = false;
      if (Take("*")) {
      } else if (Take("+")) {
        min = 1;
      } else if (Take("?")) {
        max = 1;
      } else if (Peek() == '{') {
        ASSIGN_OR_RETURN(counted, ParseCount(&min, &max));
        if (!counted) return atom;  // a brace that is none is text
      } else {
        return atom;
      }
      NodePtr repeat = Make(NodeKind::kRepeat);
      repeat->min = min;
      repeat->max = max;
      // A count of one number goes on as if it stood in a group; only the others are made lazy.
      const bool exact = counted && min == max;
      repeat->lazy = !exact && Take("?");
      repeat->children.push_back(std::move(atom));
      atom = std::move(repeat);
      if (!counted && !atom->lazy && Take("+")) {
        NodePtr atomic = Make(NodeKind::kAtomic);
        atomic->children.push_back(std::move(atom));
        atom = std::move(atomic);
      }
    }
  }

  // {n}, {n,}, {,m} and {n,m}; false, and nothing taken, for any other brace.
  absl::StatusOr<bool> ParseCount(uint32_t* min, uint32_t* max) {
    size_t at = at_ + 1;
    const auto number = [&](uint32_t* value) {
      const size_t first = at;
      *value = 0;
      while (at < pattern_.size() && pattern_[at] >= '0' && pattern_[at] <= '9') {
        *value = std::min(*value * 10 + static_cast<uint32_t>(pattern_[at] - '0'), kCountMax + 1);
        ++at;
      }
      return at > first;
    };
    const bool has_min = number(min);
    bool has_max = false;
    if (at < pattern_.size() && pattern_[at] == ',') {
      ++at;
      has_max = number(max);
      if (!has_max) *max = Node::kUnbounded;
      if (!has_min && !has_max) return false;
    } else {
      *max = *min;
      if (!has_min) return false;
    }
    if (at >= pattern_.size() || pattern_[at] != '}') return false;
    if (*min > kCountMax || (has_max && *max > kCountMax)) return Wrong("a count over 1000");
    if (*max < *min) return Wrong("a count whose end is before its beginning");
    at_ = at + 1;
    return true;
  }

  // A scalar written as an escape (after the backslash); nullopt when the escape is no scalar.
  absl::StatusOr<std::optional<uint32_t>> ParseScalarEscape() {
    const char letter = Peek();
    const auto simple = [&](uint32_t scalar) {
      ++at_;
      return std::optional<uint32_t>(scalar);
    };
    switch (letter) {
      case 'n':
        return simple('\n');
      case 'r':
        return simple('\r');
      case 't':
        return simple('\t');
      case 'f':
        return simple('\f');
      case 'v':
        return simple('\v');
      case 'a':
        return simple('\a');
      case 'e':
        return simple(0x1B);
      case 'x':
        ++at_;
        if (Take("{")) {
          ASSIGN_OR_RETURN(const uint32_t scalar, TakeHex(1, 8));
          if (!Take("}")) return Wrong("missing }");
          return std::optional<uint32_t>(scalar);
        } else {
          ASSIGN_OR_RETURN(const uint32_t scalar, TakeHex(1, 2));
          return std::optional<uint32_t>(scalar);
        }
      case 'u': {
        ++at_;
        ASSIGN_OR_RETURN(const uint32_t scalar, TakeHex(4, 4));
        return std::optional<uint32_t>(scalar);
      }
      default:
        break;
    }
    const bool alphanumeric = (letter >= '0' && letter <= '9') ||
                              (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z');
    if (alphanumeric) return std::optional<uint32_t>();
    if (AtEnd()) return Wrong("a backslash at the end");
    ASSIGN_OR_RETURN(const uint32_t scalar, TakeScalar());
    return std::optional<uint32_t>(scalar);
  }

  absl::StatusOr<uint32_t> TakeHex(int digits_min, int digits_max) {
    uint32_t value = 0;
    int digits = 0;
    for (; digits < digits_max; ++digits) {
      const char c = Peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value << 4 | static_cast<uint32_t>(digit);
      ++at_;
    }
    if (digits < digits_min || value > 0x10FFFF) return Wrong("expected a scalar in hexadecimal");
    return value;
  }

  // \p{…} and \P{…}, after the backslash.
  absl::StatusOr<CharSet> ParseProperty() {
    const bool inverted = Peek() == 'P';
    ++at_;
    if (!Take("{")) return Wrong("expected { after \\p");
    const size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos || end - at_ > 64) return Wrong("missing } after \\p{");
    const std::string_view name = pattern_.substr(at_, end - at_);
    std::optional<CharSet> set = ClassOfProperty(name);
    if (!set.has_value()) return Unknown(absl::StrCat("\\p{", std::string(name), "}"));
    at_ = end + 1;
    if (inverted) set->negated = !set->negated;
    return *std::move(set);
  }

  absl::StatusOr<NodePtr> ParseEscape(Options options) {
    const char letter = Peek();
    if (letter == 'p' || letter == 'P') {
      ASSIGN_OR_RETURN(CharSet set, ParseProperty());
      return Set(std::move(set), options);
    }
    if (std::optional<CharSet> set = ClassOfEscape(letter); set.has_value()) {
      ++at_;
      return Set(*std::move(set), options);
    }
    struct Edge {
      char letter;
      Op op;
    };
    constexpr Edge kEdges[] = {{'A', Op::kTextBegin},
                               {'z', Op::kTextEnd},
                               {'Z', Op::kBeforeEnd},
                               {'b', Op::kWordEdge},
                               {'B', Op::kNoWordEdge}};
    for (const Edge& edge : kEdges) {
      if (edge.letter != letter) continue;
      ++at_;
      return Assertion(edge.op);
    }
    if (letter == 'R') {
      ++at_;
      return LineBreak();
    }
    ASSIGN_OR_RETURN(const std::optional<uint32_t> scalar, ParseScalarEscape());
    if (!scalar.has_value()) return Unknown(absl::StrCat("\\", std::string(1, letter)));
    return Scalar(*scalar, options);
  }

  // (?>\r\n|[\n-\r\u0085\u2028\u2029])
  static NodePtr LineBreak() {
    NodePtr both = Make(NodeKind::kSequence);
    both->children.push_back(Scalar('\r', {}));
    both->children.push_back(Scalar('\n', {}));
    NodePtr choice = Make(NodeKind::kChoice);
    choice->children.push_back(std::move(both));
    CharSet set;
    set.ranges = {{'\n', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}};
    choice->children.push_back(Set(std::move(set), {}));
    NodePtr atomic = Make(NodeKind::kAtomic);
    atomic->children.push_back(std::move(choice));
    return atomic;
  }

  absl::StatusOr<NodePtr> ParseClassNode(Options options, int depth) {
    ASSIGN_OR_RETURN(CharSet set, ParseClass(options, depth + 1));
    NodePtr node = Make(NodeKind::kSet);
    node->set = std::move(set);
    return node;
  }

  // After the opening bracket, to behind the closing one.
  absl::StatusOr<CharSet> ParseClass(Options options, int depth) {
    if (depth > kDepthMax) return Wrong("nested deeper than 64");
    CharSet set;
    set.any_case = options.any_case;
    set.negated = Take("^");
    CharSet* into = &set;
    for (bool first = true;; first = false) {
      if (AtEnd()) return Wrong("missing ]");
      if (Peek() == ']' && !first) {
        ++at_;
        return set;
      }
      if (Take("&&")) {
        // What follows, up to the next && or the end, must hold as well.
        set.intersection.emplace_back();
        into = &set.intersection.back();
        into->any_case = options.any_case;
        continue;
      }
      if (Take("[:")) {
        RETURN_IF_ERROR(ParsePosix(into));
        continue;
      }
      if (Take("[")) {
        ASSIGN_OR_RETURN(CharSet nested, ParseClass(options, depth + 1));
        into->parts.push_back(std::move(nested));
        continue;
      }
      RETURN_IF_ERROR(ParseClassItem(into));
    }
  }

  absl::Status ParsePosix(CharSet* into) {
    const bool inverted = Take("^");
    const size_t end = pattern_.find(":]", at_);
    if (end == std::string_view::npos || end - at_ > 16) return Wrong("missing :]");
    const std::string_view name = pattern_.substr(at_, end - at_);
    std::optional<CharSet> set = ClassOfPosix(name);
    if (!set.has_value()) return Unknown(absl::StrCat("[:", std::string(name), ":]"));
    at_ = end + 2;
    set->negated = inverted;
    into->parts.push_back(*std::move(set));
    return absl::OkStatus();
  }

  // One scalar, a range of them, or a class by name.
  absl::Status ParseClassItem(CharSet* into) {
    ASSIGN_OR_RETURN(const std::optional<uint32_t> first, ParseClassScalar(into));
    if (!first.has_value()) return absl::OkStatus();
    uint32_t last = *first;
    if (Peek() == '-' && Peek(1) != ']' && at_ + 1 < pattern_.size()) {
      ++at_;
      ASSIGN_OR_RETURN(const std::optional<uint32_t> to, ParseClassScalar(into));
      if (to.has_value()) {
        last = *to;
      } else {  // "a-\w": three items
        into->ranges.emplace_back('-', '-');
      }
      if (last < *first) return Wrong("a range whose end is before its beginning");
    }
    into->ranges.emplace_back(*first, last);
    return absl::OkStatus();
  }

  // nullopt when it was a class, which is in the set now.
  absl::StatusOr<std::optional<uint32_t>> ParseClassScalar(CharSet* into) {
    if (Peek() != '\\') {
      ASSIGN_OR_RETURN(const uint32_t scalar, TakeScalar());
      return std::optional<uint32_t>(scalar);
    }
    ++at_;
    const char letter = Peek();
    if (letter == 'p' || letter == 'P') {
      ASSIGN_OR_RETURN(CharSet set, ParseProperty());
      into->parts.push_back(std::move(set));
      return std::optional<uint32_t>();
    }
    if (std::optional<CharSet> set = ClassOfEscape(letter); set.has_value()) {
      ++at_;
      into->parts.push_back(*std::move(set));
      return std::optional<uint32_t>();
    }
    if (letter == 'b') {
      ++at_;
      return std::optional<uint32_t>('\b');
    }
    ASSIGN_OR_RETURN(const std::optional<uint32_t> scalar, ParseScalarEscape());
    if (!scalar.has_value()) {
      return Unknown(absl::StrCat("\\", std::string(1, letter), " in a class"));
    }
    return scalar;
  }

  std::string_view pattern_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Node>> ParseRegex(std::string_view pattern) {
  if (pattern.size() > kPatternBytesMax) {
    return base::InvalidArgument("regular expression: longer than 16 KiB");
  }
  return Parser(pattern).Parse();
}

}  // namespace conclave::engine::regex
