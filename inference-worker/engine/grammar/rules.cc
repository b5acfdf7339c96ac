#include "engine/grammar/rules.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::engine::grammar {
namespace {

constexpr uint32_t kScalarMax = 0x10FFFF;
constexpr CodeRange kSurrogates = {0xD800, 0xDFFF};
// How many copies make a block: 2 √n of the largest count that is still written out.
constexpr int32_t kBlock = 64;
constexpr int32_t kWrittenOutMax = 2 * kBlock;

}  // namespace

std::vector<CodeRange> Normalised(std::vector<CodeRange> ranges) {
  std::vector<CodeRange> cut;
  for (CodeRange range : ranges) {
    range.last = std::min(range.last, kScalarMax);
    if (range.first < kSurrogates.first) {
      cut.push_back({range.first, std::min(range.last, kSurrogates.first - 1)});
    }
    if (range.last > kSurrogates.last) {
      cut.push_back({std::max(range.first, kSurrogates.last + 1), range.last});
    }
  }
  std::erase_if(cut, [](const CodeRange& range) { return range.first > range.last; });
  std::sort(cut.begin(), cut.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.first < b.first; });
  std::vector<CodeRange> merged;
  for (const CodeRange& range : cut) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<CodeRange> Complement(const std::vector<CodeRange>& ranges) {
  std::vector<CodeRange> left;
  uint32_t next = 0;
  for (const CodeRange& range : Normalised(ranges)) {
    if (range.first > next) left.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kScalarMax) left.push_back({next, kScalarMax});
  return Normalised(std::move(left));
}

std::vector<CodeRange> Intersection(const std::vector<CodeRange>& a,
                                    const std::vector<CodeRange>& b) {
  std::vector<CodeRange> outside = Complement(a);
  const std::vector<CodeRange> outside_b = Complement(b);
  outside.insert(outside.end(), outside_b.begin(), outside_b.end());
  return Complement(outside);
}

ExprId Rules::Add(Expr expr) {
  text_bytes_ += expr.text.size() + sizeof(ExprId) * expr.parts.size() +
                 sizeof(CodeRange) * expr.ranges.size();
  if (exprs_.size() >= kExprsMax || text_bytes_ > kTextBytesMax) full_ = true;
  // Of an arena that is full nobody reads anything but status().
  if (full_ && !exprs_.empty()) return 0;
  exprs_.push_back(std::move(expr));
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId Rules::Text(std::string_view text) {
  return Add({.kind = Expr::Kind::kText, .text = std::string(text)});
}

ExprId Rules::Set(std::vector<CodeRange> ranges) {
  return Add({.kind = Expr::Kind::kSet, .ranges = Normalised(std::move(ranges))});
}

ExprId Rules::Sequence(std::vector<ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return Add({.kind = Expr::Kind::kSequence, .parts = std::move(parts)});
}

ExprId Rules::Choice(std::vector<ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return Add({.kind = Expr::Kind::kChoice, .parts = std::move(parts)});
}

ExprId Rules::Call(RuleId rule) { return Add({.kind = Expr::Kind::kCall, .rule = rule}); }

ExprId Rules::List(ExprId separator, const std::vector<ListItem>& items) {
  Expr list{.kind = Expr::Kind::kList, .parts = {separator}, .optional = {false}};
  for (const ListItem& item : items) {
    list.parts.push_back(item.expr);
    list.optional.push_back(item.optional);
  }
  return Add(std::move(list));
}

ExprId Rules::Repeat(ExprId part, int32_t min, int32_t max) {
  CHECK(min >= 0 && min <= kCountMax);
  CHECK(max == kUnbounded || (max >= min && max <= kCountMax));
  if (max != kUnbounded ? max <= kWrittenOutMax : min <= kWrittenOutMax) {
    return Add({.kind = Expr::Kind::kRepeat, .parts = {part}, .min = min, .max = max});
  }
  const ExprId rest = max == kUnbounded ? Repeat(part, 0, kUnbounded) : UpTo(part, max - min);
  return Sequence({Exactly(part, min), rest});
}

ExprId Rules::Exactly(ExprId part, int32_t count) {
  if (count <= kWrittenOutMax) return Repeat(part, count, count);
  return Sequence(
      {Exactly(Block(part), count / kBlock), Repeat(part, count % kBlock, count % kBlock)});
}

// Up to count = some blocks, fewer than all of them, and a part of one; or all and the remainder.
ExprId Rules::UpTo(ExprId part, int32_t count) {
  if (count <= kWrittenOutMax) return Repeat(part, 0, count);
  const ExprId block = Block(part);
  const int32_t blocks = count / kBlock;
  return Choice({Sequence({UpTo(block, blocks - 1), Repeat(part, 0, kBlock - 1)}),
                 Sequence({Exactly(block, blocks), Repeat(part, 0, count % kBlock)})});
}

ExprId Rules::Block(ExprId part) {
  for (const auto& [of, call] : blocks_) {
    if (of == part) return call;
  }
  const RuleId rule = AddRule("block");
  Define(rule, Repeat(part, kBlock, kBlock));
  blocks_.emplace_back(part, Call(rule));
  return blocks_.back().second;
}

RuleId Rules::AddRule(std::string name) {
  if (names_.size() >= kRulesMax) {
    full_ = true;
    return 0;
  }
  names_.push_back(std::move(name));
  bodies_.push_back(-1);
  return static_cast<RuleId>(names_.size() - 1);
}

void Rules::Define(RuleId rule, ExprId body) { bodies_[static_cast<size_t>(rule)] = body; }

absl::Status Rules::status() const {
  if (!full_) return absl::OkStatus();
  return base::InvalidArgument("too large: more than 4096 rules or 200000 expressions");
}

}  // namespace conclave::engine::grammar
