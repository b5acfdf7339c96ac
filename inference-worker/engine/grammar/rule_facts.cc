#include "engine/grammar/rule_facts.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace conclave::engine::grammar {
namespace {

// Rules up to this size are copied into their callers, unless they are wide: the masks of a wide
// rule (any character, say) are dear and shared by all its callers as long as it stays one rule.
constexpr int kInlinedSizeMax = 32;
constexpr int kInlineRounds = 6;
constexpr uint32_t kNarrowMax = 64;

size_t Index(int32_t id) { return static_cast<size_t>(id); }

// The used rules and, in `reached`, their expressions.
absl::Status Reach(const Rules& rules, RuleFacts* facts, std::vector<ExprId>* reached) {
  std::vector<bool> seen_rule(rules.num_rules()), seen(rules.num_exprs());
  const auto use = [&](RuleId rule) {
    if (seen_rule[Index(rule)]) return;
    seen_rule[Index(rule)] = true;
    facts->used.push_back(rule);
  };
  use(rules.root);
  for (size_t i = 0; i < facts->used.size(); ++i) {
    const RuleId rule = facts->used[i];
    if (rules.body(rule) < 0) {
      return base::InvalidArgument(absl::StrCat("rule \"", rules.name(rule), "\" is not defined"));
    }
    std::vector<ExprId> todo = {rules.body(rule)};
    while (!todo.empty()) {
      const ExprId id = todo.back();
      todo.pop_back();
      if (seen[Index(id)]) continue;
      seen[Index(id)] = true;
      reached->push_back(id);
      const Expr& expr = rules.expr(id);
      if (expr.kind == Expr::Kind::kCall) use(expr.rule);
      todo.insert(todo.end(), expr.parts.begin(), expr.parts.end());
    }
  }
  return absl::OkStatus();
}

// How a property of an expression follows from that of its parts.
struct Need {
  bool holds = false;  // whatever the parts
  bool all = false;    // of the parts, else any of them
  std::vector<ExprId> parts;
};

Need NeedOf(const Rules& rules, const Expr& expr, bool nullable) {
  switch (expr.kind) {
    case Expr::Kind::kText:
      return {.holds = !nullable || expr.text.empty()};
    case Expr::Kind::kSet:
      return {.holds = !nullable && !expr.ranges.empty()};
    case Expr::Kind::kSequence:
      return {.holds = expr.parts.empty(), .all = true, .parts = expr.parts};
    case Expr::Kind::kChoice:
      return {.parts = expr.parts};
    case Expr::Kind::kRepeat:
      return {.holds = expr.min == 0, .parts = expr.parts};
    case Expr::Kind::kCall:
      return {.parts = {rules.body(expr.rule)}};
    case Expr::Kind::kList: {
      Need need{.all = true};
      for (size_t i = 1; i < expr.parts.size(); ++i) {
        if (!expr.optional[i]) need.parts.push_back(expr.parts[i]);
      }
      need.holds = need.parts.empty();
      return need;
    }
    case Expr::Kind::kGraph:
      return {.holds = !nullable || rules.graph(expr).final[0]};
  }
  return {};
}

// The least solution, in time linear in the rules.
std::vector<bool> Solve(const Rules& rules, const std::vector<ExprId>& exprs, bool nullable) {
  std::vector<bool> holds(rules.num_exprs());
  std::vector<size_t> missing(rules.num_exprs(), 1);
  std::vector<std::vector<ExprId>> users(rules.num_exprs());
  std::vector<ExprId> todo;
  for (const ExprId id : exprs) {
    const Need need = NeedOf(rules, rules.expr(id), nullable);
    for (const ExprId part : need.parts) users[Index(part)].push_back(id);
    if (need.all) missing[Index(id)] = need.parts.size();
    if (need.holds) todo.push_back(id);
  }
  while (!todo.empty()) {
    const ExprId id = todo.back();
    todo.pop_back();
    if (holds[Index(id)]) continue;
    holds[Index(id)] = true;
    for (const ExprId user : users[Index(id)]) {
      if (missing[Index(user)] > 0 && --missing[Index(user)] == 0) todo.push_back(user);
    }
  }
  return holds;
}

// Roughly how many automaton states an expression becomes; over the limit when it is recursive or
// wide.
int SizeOf(const Rules& rules, const std::vector<int>& rule_sizes, ExprId id, int depth) {
  constexpr int kTooLarge = kInlinedSizeMax + 1;
  if (depth > kInlinedSizeMax) return kTooLarge;
  const Expr& expr = rules.expr(id);
  int size = 1;
  if (expr.kind == Expr::Kind::kText) {
    size = static_cast<int>(std::min<size_t>(expr.text.size(), kTooLarge));
  } else if (expr.kind == Expr::Kind::kSet) {
    uint32_t scalars = 0;
    for (const CodeRange& range : expr.ranges) scalars += range.last - range.first + 1;
    if (scalars > kNarrowMax) return kTooLarge;
  } else if (expr.kind == Expr::Kind::kGraph) {
    return kTooLarge;
  } else if (expr.kind == Expr::Kind::kCall) {
    return rule_sizes[Index(expr.rule)];
  }
  for (const ExprId part : expr.parts) {
    size += SizeOf(rules, rule_sizes, part, depth + 1);
    if (size >= kTooLarge) return kTooLarge;
  }
  if (expr.kind == Expr::Kind::kRepeat) size *= std::max({1, expr.min, expr.max});
  return std::min(size, kTooLarge);
}

// In rounds from the leaves: a rule that calls itself, however indirectly, is never reached.
std::vector<bool> Inlined(const Rules& rules, const std::vector<RuleId>& used) {
  std::vector<int> sizes(rules.num_rules(), kInlinedSizeMax + 1);
  std::vector<bool> inlined(rules.num_rules());
  for (int round = 0; round < kInlineRounds; ++round) {
    const std::vector<int> before = sizes;
    for (const RuleId rule : used) {
      sizes[Index(rule)] = SizeOf(rules, before, rules.body(rule), 0);
      inlined[Index(rule)] = sizes[Index(rule)] <= kInlinedSizeMax;
    }
  }
  return inlined;
}

}  // namespace

absl::StatusOr<RuleFacts> FactsOf(const Rules& rules) {
  RETURN_IF_ERROR(rules.status());
  RuleFacts facts;
  std::vector<ExprId> exprs;
  RETURN_IF_ERROR(Reach(rules, &facts, &exprs));
  facts.productive = Solve(rules, exprs, /*nullable=*/false);
  facts.nullable = Solve(rules, exprs, /*nullable=*/true);
  facts.inlined = Inlined(rules, facts.used);
  if (!facts.productive[Index(rules.body(rules.root))]) {
    return base::InvalidArgument("no finite text satisfies it");
  }
  return facts;
}

}  // namespace conclave::engine::grammar
