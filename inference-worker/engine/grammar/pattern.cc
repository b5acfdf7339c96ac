#include "engine/grammar/pattern.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/regex_syntax.h"

namespace conclave::engine::grammar {
namespace {

using regex::CharSet;
using regex::Node;
using regex::NodeKind;
using regex::Op;

constexpr uint32_t kScalarMax = 0x10FFFF;
// Sets by Unicode property are found by asking for every scalar: some 20 ms each.
constexpr int kScansMax = 4;

absl::Status Unsupported(std::string_view what) {
  return base::Unimplemented(
      absl::StrCat("regular expression: ", std::string(what), " is not supported"));
}

// \d \w \s as ASCII, and no class within a class: others read those differently.
absl::StatusOr<std::string> Portable(std::string_view pattern) {
  std::string text;
  bool in_class = false;
  size_t class_begin = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char letter = pattern[++i];
      const std::string_view ascii = letter == 'd'   ? "0-9"
                                     : letter == 'w' ? "A-Za-z0-9_"
                                     : letter == 's' ? " \\t\\n\\r\\f\\v"
                                                     : "";
      if (ascii.empty()) {
        text += {c, letter};
      } else {
        text += in_class ? std::string(ascii) : absl::StrCat("[", std::string(ascii), "]");
      }
      continue;
    }
    if (!in_class && c == '[') {
      in_class = true;
      class_begin = i + (i + 1 < pattern.size() && pattern[i + 1] == '^' ? 2 : 1);
    } else if (in_class && c == '[') {
      return Unsupported("[ within a class, without a backslash,");
    } else if (in_class && pattern.substr(i).starts_with("&&")) {
      return Unsupported("&& within a class");
    } else if (in_class && c == ']' && i > class_begin) {
      in_class = false;
    }
    text += c;
  }
  return text;
}

class Converter final {
 public:
  Converter(TextStyle& style, Rules* rules) : style_(style), rules_(*rules) {}

  // A branch of the top level: anchors are known here only.
  absl::StatusOr<ExprId> Branch(const Node& node, bool anywhere) {
    std::vector<const Node*> parts;
    if (node.kind == NodeKind::kSequence) {
      for (const auto& child : node.children) parts.push_back(child.get());
    } else {
      parts.push_back(&node);
    }
    bool from_begin = !anywhere, to_end = !anywhere;
    while (!parts.empty() && Is(*parts.front(), {Op::kLineBegin, Op::kTextBegin})) {
      from_begin = true;
      parts.erase(parts.begin());
    }
    while (!parts.empty() && Is(*parts.back(), {Op::kLineEnd, Op::kTextEnd, Op::kBeforeEnd})) {
      to_end = true;
      parts.pop_back();
    }
    std::vector<ExprId> exprs;
    if (!from_begin) exprs.push_back(style_.Anything());
    for (const Node* part : parts) {
      ASSIGN_OR_RETURN(const ExprId expr, Convert(*part));
      exprs.push_back(expr);
    }
    if (!to_end) exprs.push_back(style_.Anything());
    return exprs.empty() ? rules_.Text("") : rules_.Sequence(std::move(exprs));
  }

 private:
  static bool Is(const Node& node, std::initializer_list<Op> ops) {
    return node.kind == NodeKind::kAssertion &&
           std::find(ops.begin(), ops.end(), node.assertion) != ops.end();
  }

  absl::StatusOr<ExprId> Convert(const Node& node) {
    if (rules_.full()) return rules_.status();
    switch (node.kind) {
      case NodeKind::kEmpty:
        return rules_.Text("");
      case NodeKind::kScalar: {
        std::vector<CodeRange> ranges = {{node.value, node.value}};
        if (node.any_case) AddOtherCase(&ranges);
        return style_.OneOf(ranges);
      }
      case NodeKind::kSet: {
        ASSIGN_OR_RETURN(const std::vector<CodeRange> ranges, RangesOf(node.set));
        return style_.OneOf(ranges);
      }
      case NodeKind::kSequence:
      case NodeKind::kChoice: {
        std::vector<ExprId> parts;
        for (const auto& child : node.children) {
          ASSIGN_OR_RETURN(const ExprId part, Convert(*child));
          parts.push_back(part);
        }
        if (parts.empty()) return rules_.Text("");
        return node.kind == NodeKind::kChoice ? rules_.Choice(std::move(parts))
                                              : rules_.Sequence(std::move(parts));
      }
      case NodeKind::kRepeat: {
        ASSIGN_OR_RETURN(const ExprId part, Convert(*node.children[0]));
        const bool open = node.max == Node::kUnbounded;
        return rules_.Repeat(part, static_cast<int32_t>(node.min),
                             open ? Rules::kUnbounded : static_cast<int32_t>(node.max));
      }
      case NodeKind::kAssertion:
        return Unsupported("an anchor or a word edge in the middle");
      case NodeKind::kAhead:
      case NodeKind::kBehind:
        return Unsupported("look-around");
      case NodeKind::kAtomic:
        return Unsupported("an atomic group or possessive repetition");
    }
    return Unsupported("this");
  }

  static void AddOtherCase(std::vector<CodeRange>* ranges) {
    const size_t count = ranges->size();
    for (size_t i = 0; i < count; ++i) {
      for (uint32_t c = 'a'; c <= 'z'; ++c) {
        const CodeRange range = (*ranges)[i];
        const uint32_t upper = c - 'a' + 'A';
        if (c >= range.first && c <= range.last) ranges->push_back({upper, upper});
        if (upper >= range.first && upper <= range.last) ranges->push_back({c, c});
      }
    }
  }

  absl::StatusOr<std::vector<CodeRange>> RangesOf(const CharSet& set) {
    std::vector<CodeRange> ranges;
    for (const auto& [first, last] : set.ranges) ranges.push_back({first, last});
    for (const CharSet& part : set.parts) {
      ASSIGN_OR_RETURN(const std::vector<CodeRange> inner, RangesOf(part));
      ranges.insert(ranges.end(), inner.begin(), inner.end());
    }
    if (set.categories != 0 || set.property != nullptr || !set.scripts.empty()) {
      if (++scans_ > kScansMax) return Unsupported("more than 4 sets by Unicode property");
      CharSet named;
      named.categories = set.categories;
      named.property = set.property;
      named.scripts = set.scripts;
      for (uint32_t c = 0; c <= kScalarMax; ++c) {
        if (named.Contains(c, CategoryOf(c))) ranges.push_back({c, c});
      }
    }
    if (set.any_case) AddOtherCase(&ranges);
    ranges = Normalised(std::move(ranges));
    for (const CharSet& other : set.intersection) {
      ASSIGN_OR_RETURN(const std::vector<CodeRange> inner, RangesOf(other));
      ranges = Intersection(ranges, inner);
    }
    return set.negated ? Complement(ranges) : ranges;
  }

  TextStyle& style_;
  Rules& rules_;
  int scans_ = 0;
};

class PlainStyle final : public TextStyle {
 public:
  explicit PlainStyle(Rules* rules) : rules_(*rules) {}
  ExprId OneOf(const std::vector<CodeRange>& ranges) override { return rules_.Set(ranges); }
  ExprId Anything() override {
    return rules_.Repeat(rules_.Set({{0, kScalarMax}}), 0, Rules::kUnbounded);
  }

 private:
  Rules& rules_;
};

}  // namespace

absl::StatusOr<ExprId> AddPattern(std::string_view pattern, bool anywhere, TextStyle& style,
                                  Rules* rules) {
  ASSIGN_OR_RETURN(const std::string portable, Portable(pattern));
  ASSIGN_OR_RETURN(const std::unique_ptr<Node> tree, regex::ParseRegex(portable));
  Converter converter(style, rules);
  if (tree->kind != NodeKind::kChoice) return converter.Branch(*tree, anywhere);
  std::vector<ExprId> branches;
  for (const auto& child : tree->children) {
    ASSIGN_OR_RETURN(const ExprId branch, converter.Branch(*child, anywhere));
    branches.push_back(branch);
  }
  return rules->Choice(std::move(branches));
}

absl::StatusOr<ExprId> AddPlainPattern(std::string_view pattern, bool anywhere, Rules* rules) {
  PlainStyle style(rules);
  return AddPattern(pattern, anywhere, style, rules);
}

absl::StatusOr<Rules> ParsePattern(std::string_view pattern) {
  Rules rules;
  rules.root = rules.AddRule("root");
  ASSIGN_OR_RETURN(const ExprId body, AddPlainPattern(pattern, /*anywhere=*/false, &rules));
  rules.Define(rules.root, body);
  return rules;
}

}  // namespace conclave::engine::grammar
