#include "engine/grammar/pattern.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/grammar/intersection.h"
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
// Each look-ahead and each way to one of them is an automaton of its own.
constexpr int kRestsMax = 32;

using Nodes = std::vector<const Node*>;

absl::Status Unsupported(std::string_view what) {
  return base::Unimplemented(
      absl::StrCat("regular expression: ", std::string(what), " is not supported"));
}

// What a class escape stands for, within [ ]. ASCII where it must match, and all that any reading
// of it takes where it must not (`wide`); empty: as the parser reads it, which is by Unicode.
std::string MembersOf(char letter, bool wide) {
  switch (letter) {
    case 'd':
      return wide ? "\\d0-9" : "0-9";
    case 'w':
      return wide ? "\\wA-Za-z0-9_" : "A-Za-z0-9_";
    case 's':
      return wide ? "\\s \\t\\n\\r\\f\\v\x1C-\x1F\xEF\xBB\xBF" : " \\t\\n\\r\\f\\v";
    case 'D':
      return wide ? "\x01-/:-\xF4\x8F\xBF\xBF" : "";
    case 'W':
      return wide ? "\x01-/:-@\\[-\\^`{-\xF4\x8F\xBF\xBF" : "";
    case 'S':
      return wide ? "\x01-\x08\x0E-\x1F!-\xF4\x8F\xBF\xBF" : "";
    default:
      return "";
  }
}

// Class escapes as MembersOf has them, and no class within a class: others read those differently.
// `wide`: the pattern is one that must not match.
absl::StatusOr<std::string> Portable(std::string_view pattern, bool wide) {
  std::string text;
  std::vector<bool> groups = {wide};  // of open groups: whether they must not match
  bool in_class = false, negated_class = false;
  size_t class_begin = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char letter = pattern[++i];
      const std::string members = MembersOf(letter, groups.back() != (in_class && negated_class));
      if (members.empty()) {
        text += {c, letter};
      } else {
        text += in_class ? members : absl::StrCat("[", members, "]");
      }
      continue;
    }
    if (!in_class && c == '[') {
      in_class = true;
      negated_class = pattern.substr(i).starts_with("[^");
      class_begin = i + (negated_class ? 2 : 1);
    } else if (in_class && c == '[') {
      return Unsupported("[ within a class, without a backslash,");
    } else if (in_class && pattern.substr(i).starts_with("&&")) {
      return Unsupported("&& within a class");
    } else if (in_class && c == ']' && i > class_begin) {
      in_class = false;
    } else if (!in_class && c == '(') {
      groups.push_back(groups.back() != pattern.substr(i).starts_with("(?!"));
    } else if (!in_class && c == ')' && groups.size() > 1) {
      groups.pop_back();
    }
    text += c;
  }
  return text;
}

class Converter final {
 public:
  // `scans`: sets by Unicode property that were found so far.
  Converter(TextStyle& style, Rules* rules, int* scans)
      : style_(style), rules_(*rules), scans_(*scans) {}

  // A branch of the top level: anchors are known here only. `from_begin` and `to_end`: whether
  // nothing may stand in front of it and behind it.
  absl::StatusOr<ExprId> Branch(Nodes parts, bool from_begin, bool to_end) {
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

  static bool Is(const Node& node, std::initializer_list<Op> ops) {
    return node.kind == NodeKind::kAssertion &&
           std::find(ops.begin(), ops.end(), node.assertion) != ops.end();
  }

 private:
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
        return Unsupported("look-ahead that is repeated");
      case NodeKind::kBehind:
        return Unsupported("look-behind");
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
  int& scans_;
};

class PlainStyle final : public TextStyle {
 public:
  explicit PlainStyle(Rules* rules) : rules_(*rules) {}
  ExprId OneOf(const std::vector<CodeRange>& ranges) override { return rules_.Set(ranges); }
  ExprId Anything() override {
    return rules_.Repeat(rules_.Set({{0, kScalarMax}}), 0, Rules::kUnbounded);
  }
  Graph Written(Graph plain) override { return plain; }

 private:
  Rules& rules_;
};

bool HasAhead(const Node& node) {
  return node.kind == NodeKind::kAhead ||
         std::any_of(node.children.begin(), node.children.end(),
                     [](const auto& child) { return HasAhead(*child); });
}

Nodes ChildrenOf(const Node& node) {
  Nodes children;
  for (const auto& child : node.children) children.push_back(child.get());
  return children;
}

// Patterns that look ahead, over text as it is: what comes after a look-ahead, up to the end of the
// text, is intersected with what it asks for. Ways that lead to different ones are told apart
// first.
class AheadReader final {
 public:
  explicit AheadReader(int* scans) : scans_(scans) {}

  absl::StatusOr<Rules> Whole(const Node& tree, bool anywhere) {
    Rules rules;
    std::vector<ExprId> choices;
    for (Nodes parts : Ways({&tree})) {
      // Without ^ it may begin wherever it wants.
      const bool from_begin =
          !anywhere ||
          (!parts.empty() && Converter::Is(*parts[0], {Op::kLineBegin, Op::kTextBegin}));
      ASSIGN_OR_RETURN(const ExprId text, Rest(std::move(parts), from_begin, !anywhere, &rules));
      choices.push_back(from_begin ? text : rules.Sequence({PlainStyle(&rules).Anything(), text}));
    }
    return WithRoot(std::move(rules), choices);
  }

 private:
  static Rules WithRoot(Rules rules, std::vector<ExprId> choices) {
    rules.root = rules.AddRule("root");
    rules.Define(rules.root, rules.Choice(std::move(choices)));
    return rules;
  }

  // Of parts in a row: a group that stands alone is what it holds.
  static std::vector<Nodes> Ways(Nodes parts) {
    if (parts.size() != 1) return {std::move(parts)};
    if (parts[0]->kind == NodeKind::kSequence) return {ChildrenOf(*parts[0])};
    if (parts[0]->kind != NodeKind::kChoice) return {std::move(parts)};
    std::vector<Nodes> ways;
    for (const Node* child : ChildrenOf(*parts[0])) {
      for (Nodes& way : Ways({child})) ways.push_back(std::move(way));
    }
    return ways;
  }

  // What `parts` read up to the end of the text. `at_begin`: of the text.
  absl::StatusOr<ExprId> Rest(Nodes parts, bool at_begin, bool to_end, Rules* rules) {
    if (++num_rests_ > kRestsMax) return Unsupported("so much look-ahead");
    while (at_begin && !parts.empty() &&
           Converter::Is(*parts.front(), {Op::kLineBegin, Op::kTextBegin})) {
      parts.erase(parts.begin());
    }
    PlainStyle style(rules);
    Converter converter(style, rules, scans_);
    const auto ahead =
        std::find_if(parts.begin(), parts.end(), [](const Node* part) { return HasAhead(*part); });
    if (ahead == parts.end()) return converter.Branch(std::move(parts), true, to_end);
    ASSIGN_OR_RETURN(const ExprId before,
                     converter.Branch(Nodes(parts.begin(), ahead), true, true));
    at_begin = at_begin && ahead == parts.begin();
    const Nodes behind(std::next(ahead), parts.end());
    if ((*ahead)->kind == NodeKind::kAhead) {
      ASSIGN_OR_RETURN(const ExprId text, Looked(**ahead, behind, at_begin, to_end, rules));
      return rules->Sequence({before, text});
    }
    ASSIGN_OR_RETURN(const std::vector<Nodes> ways, WaysThrough(**ahead));
    std::vector<ExprId> choices;
    for (Nodes way : ways) {
      way.insert(way.end(), behind.begin(), behind.end());
      ASSIGN_OR_RETURN(const ExprId rest, Rest(std::move(way), at_begin, to_end, rules));
      choices.push_back(rest);
    }
    return rules->Sequence({before, rules->Choice(std::move(choices))});
  }

  static absl::StatusOr<std::vector<Nodes>> WaysThrough(const Node& node) {
    if (node.kind != NodeKind::kRepeat) {
      if (node.kind == NodeKind::kSequence || node.kind == NodeKind::kChoice) return Ways({&node});
      return Unsupported("look-ahead within this");
    }
    if (node.max != 1) return Unsupported("look-ahead that is repeated");
    std::vector<Nodes> ways = Ways({node.children[0].get()});
    if (node.min == 0) ways.emplace_back();
    return ways;
  }

  // What `behind` reads, if it is, or is not, what `ahead` asks for.
  absl::StatusOr<ExprId> Looked(const Node& ahead, const Nodes& behind, bool at_begin, bool to_end,
                                Rules* rules) {
    Rules rest, asked;
    ASSIGN_OR_RETURN(const ExprId text, Rest(behind, at_begin, to_end, &rest));
    rest = WithRoot(std::move(rest), {text});
    std::vector<ExprId> choices;
    for (Nodes way : Ways({ahead.children[0].get()})) {
      ASSIGN_OR_RETURN(const ExprId one, Rest(std::move(way), at_begin, /*to_end=*/false, &asked));
      choices.push_back(one);
    }
    asked = WithRoot(std::move(asked), std::move(choices));
    auto both = ahead.negated ? Subtract(rest, asked) : Intersect(rest, asked);
    if (both.ok()) return rules->AddGraph(*std::move(both));
    if (both.status().code() == absl::StatusCode::kInvalidArgument) return rules->Choice({});
    return both.status();
  }

  int* const scans_;
  int num_rests_ = 0;
};

absl::StatusOr<ExprId> Add(const std::string& portable, bool anywhere, TextStyle& style,
                           Rules* rules) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Node> tree, regex::ParseRegex(portable));
  int scans = 0;
  if (HasAhead(*tree)) {
    ASSIGN_OR_RETURN(const Rules whole, AheadReader(&scans).Whole(*tree, anywhere));
    ASSIGN_OR_RETURN(Graph graph, AsGraph(whole));
    return rules->AddGraph(style.Written(std::move(graph)));
  }
  Converter converter(style, rules, &scans);
  const bool choice = tree->kind == NodeKind::kChoice;
  std::vector<ExprId> branches;
  for (const Node* branch : choice ? ChildrenOf(*tree) : Nodes{tree.get()}) {
    Nodes parts = branch->kind == NodeKind::kSequence ? ChildrenOf(*branch) : Nodes{branch};
    ASSIGN_OR_RETURN(const ExprId expr, converter.Branch(std::move(parts), !anywhere, !anywhere));
    branches.push_back(expr);
  }
  return choice ? rules->Choice(std::move(branches)) : branches[0];
}

}  // namespace

absl::StatusOr<ExprId> AddPattern(std::string_view pattern, bool anywhere, TextStyle& style,
                                  Rules* rules) {
  ASSIGN_OR_RETURN(const std::string portable, Portable(pattern, /*wide=*/false));
  return Add(portable, anywhere, style, rules);
}

absl::StatusOr<ExprId> AddPlainPattern(std::string_view pattern, bool anywhere, Rules* rules) {
  PlainStyle style(rules);
  return AddPattern(pattern, anywhere, style, rules);
}

absl::StatusOr<ExprId> AddForbiddenPattern(std::string_view pattern, Rules* rules) {
  PlainStyle style(rules);
  ASSIGN_OR_RETURN(const std::string portable, Portable(pattern, /*wide=*/true));
  return Add(portable, /*anywhere=*/true, style, rules);
}

absl::StatusOr<Rules> ParsePattern(std::string_view pattern) {
  Rules rules;
  rules.root = rules.AddRule("root");
  ASSIGN_OR_RETURN(const ExprId body, AddPlainPattern(pattern, /*anywhere=*/false, &rules));
  rules.Define(rules.root, body);
  return rules;
}

}  // namespace conclave::engine::grammar
