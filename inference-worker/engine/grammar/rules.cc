#include "engine/grammar/rules.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace conclave::engine::grammar {
namespace {

constexpr uint32_t kScalarMax = 0x10FFFF;
constexpr CodeRange kSurrogates = {0xD800, 0xDFFF};
// How many copies make a block: 2 √n of the largest count that is still written out.
constexpr int32_t kBlock = 64;
// Of characters: longer than nearly every token, so that none reaches past the next block
// (TokenWalk::kBeyond).
constexpr int32_t kCharacterBlock = 128;

// Who reads bytes and has read `state` of the marker's; the last state, the whole marker, has no
// way on (Knuth, Morris and Pratt).
Graph ReaderOf(std::string_view marker) {
  const size_t length = marker.size();
  // next[state][byte]: the longest beginning of the marker that the text ends with then.
  std::vector<std::array<int32_t, 256>> next(length);
  size_t shorter = 0;  // the state after the text without its first byte
  for (size_t state = 0; state < length; ++state) {
    next[state] = state == 0 ? std::array<int32_t, 256>{} : next[shorter];
    const auto byte = static_cast<uint8_t>(marker[state]);
    if (state > 0) shorter = static_cast<size_t>(next[shorter][byte]);
    next[state][byte] = static_cast<int32_t>(state + 1);
  }
  Graph graph;
  for (size_t state = 0; state < length; ++state) {
    for (size_t first = 0; first < 256;) {
      size_t last = first;
      while (last < 255 && next[state][last + 1] == next[state][first]) ++last;
      graph.edges.push_back({.from = static_cast<int32_t>(state),
                             .first = static_cast<uint8_t>(first),
                             .last = static_cast<uint8_t>(last),
                             .to = next[state][first]});
      first = last + 1;
    }
  }
  graph.final.assign(length + 1, false);
  return graph;
}

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

Graph Trimmed(const Graph& graph) {
  const size_t count = graph.final.size();
  std::vector<std::vector<int32_t>> before(count);
  for (const Graph::Edge& edge : graph.edges) {
    before[static_cast<size_t>(edge.to)].push_back(edge.from);
  }
  std::vector<bool> lives = graph.final;
  std::vector<int32_t> todo;
  for (size_t i = 0; i < count; ++i) {
    if (lives[i]) todo.push_back(static_cast<int32_t>(i));
  }
  while (!todo.empty()) {
    const int32_t id = todo.back();
    todo.pop_back();
    for (const int32_t from : before[static_cast<size_t>(id)]) {
      if (lives[static_cast<size_t>(from)]) continue;
      lives[static_cast<size_t>(from)] = true;
      todo.push_back(from);
    }
  }
  Graph kept;
  if (count == 0 || !lives[0]) return kept;
  std::vector<int32_t> number(count);
  for (size_t i = 0; i < count; ++i) {
    number[i] = static_cast<int32_t>(kept.final.size());
    if (lives[i]) kept.final.push_back(graph.final[i]);
  }
  for (const Graph::Edge& edge : graph.edges) {
    const auto from = static_cast<size_t>(edge.from), to = static_cast<size_t>(edge.to);
    if (!lives[from] || !lives[to]) continue;
    kept.edges.push_back({number[from], edge.first, edge.last, number[to]});
  }
  return kept;
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

ExprId Rules::AddGraph(Graph graph) {
  if (graph.final.empty()) return Choice({});
  text_bytes_ += graph.edges.size() * sizeof(Graph::Edge);
  graphs_.push_back(std::move(graph));
  return Add({.kind = Expr::Kind::kGraph, .graph = static_cast<int32_t>(graphs_.size() - 1)});
}

ExprId Rules::Until(std::string_view marker) {
  CHECK(!marker.empty());
  Graph graph = ReaderOf(marker);
  graph.final.back() = true;
  return AddGraph(std::move(graph));
}

ExprId Rules::Without(std::string_view marker) {
  CHECK(!marker.empty());
  Graph graph = ReaderOf(marker);
  const auto whole = static_cast<int32_t>(marker.size());
  std::erase_if(graph.edges, [&](const Graph::Edge& edge) { return edge.to == whole; });
  graph.final.assign(marker.size(), true);
  return AddGraph(std::move(graph));
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
  if ((max != kUnbounded ? max : min) <= 2 * BlockSizeOf(part)) {
    return Add({.kind = Expr::Kind::kRepeat, .parts = {part}, .min = min, .max = max});
  }
  const ExprId rest = max == kUnbounded ? Repeat(part, 0, kUnbounded) : UpTo(part, max - min);
  return Sequence({Exactly(part, min), rest});
}

int32_t Rules::BlockSizeOf(ExprId part) const {
  // One of a set, or something else in its place, as an escape is.
  const Expr* expr = &this->expr(part);
  if (expr->kind == Expr::Kind::kChoice && !expr->parts.empty()) {
    expr = &this->expr(expr->parts[0]);
  }
  return expr->kind == Expr::Kind::kSet ? kCharacterBlock : kBlock;
}

// What is written out behind the blocks is no shorter than one, here and below: see
// kCharacterBlock.
ExprId Rules::Exactly(ExprId part, int32_t count) {
  const int32_t block = BlockSizeOf(part);
  if (count <= 2 * block) return Repeat(part, count, count);
  const int32_t blocks = count / block - 1, rest = count - blocks * block;
  return Sequence({Exactly(Block(part), blocks), Repeat(part, rest, rest)});
}

// Up to count = some blocks, but not the last two, and a part of one; or all but one and the rest.
ExprId Rules::UpTo(ExprId part, int32_t count) {
  const int32_t block = BlockSizeOf(part);
  if (count <= 2 * block) return Repeat(part, 0, count);
  const ExprId call = Block(part);
  const int32_t blocks = count / block - 1;
  return Choice({Sequence({UpTo(call, blocks - 1), Repeat(part, 0, block - 1)}),
                 Sequence({Exactly(call, blocks), Repeat(part, 0, count - blocks * block)})});
}

ExprId Rules::Block(ExprId part) {
  for (const auto& [of, call] : blocks_) {
    if (of == part) return call;
  }
  const RuleId rule = AddRule("block");
  const int32_t size = BlockSizeOf(part);
  Define(rule, Repeat(part, size, size));
  blocks_.emplace_back(part, Call(rule));
  return blocks_.back().second;
}

ExprId Rules::Import(const Rules& other) {
  const auto exprs = static_cast<ExprId>(exprs_.size());
  const auto rules = static_cast<RuleId>(names_.size());
  for (const std::string& name : other.names_) AddRule(name);
  for (Expr expr : other.exprs_) {
    for (ExprId& part : expr.parts) part += exprs;
    if (expr.rule >= 0) expr.rule += rules;
    if (expr.graph >= 0) {
      graphs_.push_back(other.graph(expr));
      expr.graph = static_cast<int32_t>(graphs_.size() - 1);
    }
    Add(std::move(expr));
  }
  if (full_) return 0;
  for (size_t i = 0; i < other.bodies_.size(); ++i) {
    if (other.bodies_[i] >= 0) Define(rules + static_cast<RuleId>(i), other.bodies_[i] + exprs);
  }
  return Call(rules + other.root);
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
