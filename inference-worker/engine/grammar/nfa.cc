#include "engine/grammar/nfa.h"

#include <algorithm>
#include <array>
#include <span>

namespace conclave::engine::grammar {
namespace {

constexpr uint8_t kTailFirst = 0x80, kTailLast = 0xBF;

// The bytes of a scalar, as many as its range of scalars has.
struct Utf8 {
  std::array<uint8_t, 4> bytes{};
  size_t size = 0;
};

Utf8 Encode(uint32_t scalar) {
  Utf8 utf8;
  if (scalar < 0x80) return {.bytes = {static_cast<uint8_t>(scalar)}, .size = 1};
  utf8.size = scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4;
  for (size_t i = utf8.size; i-- > 1; scalar >>= 6) {
    utf8.bytes[i] = static_cast<uint8_t>(0x80 | (scalar & 0x3F));
  }
  constexpr uint8_t kLeads[] = {0, 0, 0xC0, 0xE0, 0xF0};
  utf8.bytes[0] = static_cast<uint8_t>(kLeads[utf8.size] | scalar);
  return utf8;
}

bool AllAre(std::span<const uint8_t> bytes, uint8_t value) {
  return std::all_of(bytes.begin(), bytes.end(), [&](uint8_t byte) { return byte == value; });
}

}  // namespace

Nfa::Nfa(const Rules& rules, const RuleFacts& facts)
    : rules_(rules), facts_(facts), begins_(rules.num_rules(), -1), ends_(rules.num_rules(), -1) {
  for (const RuleId rule : facts.used) {
    const auto index = static_cast<size_t>(rule);
    const ExprId body = rules.body(rule);
    if ((facts.inlined[index] && rule != rules.root) || full_) continue;
    if (!facts.productive[static_cast<size_t>(body)]) continue;
    begins_[index] = NewState();
    ends_[index] = NewState();
    Build(body, begins_[index], ends_[index]);
  }
}

int32_t Nfa::NewState() {
  if (states_.size() >= kStatesMax) {
    full_ = true;
    return 0;
  }
  states_.emplace_back();
  return static_cast<int32_t>(states_.size() - 1);
}

void Nfa::AddBytes(int32_t from, uint8_t first, uint8_t last, int32_t to) {
  State& state = states_[static_cast<size_t>(from)];
  byte_edges_.push_back({.first = first, .last = last, .to = to, .next = state.bytes});
  state.bytes = static_cast<int32_t>(byte_edges_.size() - 1);
}

void Nfa::AddEmpty(int32_t from, int32_t to) {
  State& state = states_[static_cast<size_t>(from)];
  empty_edges_.push_back({.to = to, .next = state.empties});
  state.empties = static_cast<int32_t>(empty_edges_.size() - 1);
}

void Nfa::Build(ExprId id, int32_t from, int32_t to) {
  if (full_ || !facts_.productive[static_cast<size_t>(id)]) return;
  const Expr& expr = rules_.expr(id);
  switch (expr.kind) {
    case Expr::Kind::kText:
      return BuildText(expr, from, to);
    case Expr::Kind::kSet:
      return BuildSet(expr, from, to);
    case Expr::Kind::kSequence:
      return BuildSequence(expr, from, to);
    case Expr::Kind::kChoice:
      for (const ExprId part : expr.parts) Build(part, from, to);
      return;
    case Expr::Kind::kRepeat:
      return BuildRepeat(expr, from, to);
    case Expr::Kind::kCall:
      return BuildCall(expr, from, to);
    case Expr::Kind::kList:
      return BuildList(expr, from, to);
    case Expr::Kind::kGraph:
      return BuildGraph(rules_.graph(expr), from, to);
  }
}

void Nfa::BuildText(const Expr& expr, int32_t from, int32_t to) {
  if (expr.text.empty()) return AddEmpty(from, to);
  for (size_t i = 0; i < expr.text.size() && !full_; ++i) {
    const auto byte = static_cast<uint8_t>(expr.text[i]);
    const int32_t next = i + 1 == expr.text.size() ? to : NewState();
    AddBytes(from, byte, byte, next);
    from = next;
  }
}

void Nfa::BuildSet(const Expr& expr, int32_t from, int32_t to) {
  // tails[n]: n more bytes of any character, then `to`.
  std::array<int32_t, 4> tails = {to, -1, -1, -1};
  const auto tail = [&](size_t n) {
    for (size_t i = 1; i <= n; ++i) {
      if (tails[i] >= 0) continue;
      tails[i] = NewState();
      AddBytes(tails[i], kTailFirst, kTailLast, tails[i - 1]);
    }
    return tails[n];
  };
  using Bytes = std::span<const uint8_t>;
  static constexpr std::array<uint8_t, 4> kLows = {kTailFirst, kTailFirst, kTailFirst, kTailFirst};
  static constexpr std::array<uint8_t, 4> kHighs = {kTailLast, kTailLast, kTailLast, kTailLast};
  // All characters from `low` to `high`, which are of one length.
  const auto add = [&](const auto& self, int32_t at, Bytes low, Bytes high) -> void {
    if (full_) return;
    const size_t rest = low.size() - 1;
    uint8_t first = low[0], last = high[0];
    const auto one = [&](uint8_t byte, Bytes from_low, Bytes to_high) {
      const int32_t next = NewState();
      AddBytes(at, byte, byte, next);
      self(self, next, from_low, to_high);
    };
    if (rest > 0 && first == last &&
        !(AllAre(low.subspan(1), kTailFirst) && AllAre(high.subspan(1), kTailLast))) {
      return one(first, low.subspan(1), high.subspan(1));
    }
    if (!AllAre(low.subspan(1), kTailFirst)) {
      one(first++, low.subspan(1), Bytes(kHighs).first(rest));
    }
    if (!AllAre(high.subspan(1), kTailLast)) {
      one(last--, Bytes(kLows).first(rest), high.subspan(1));
    }
    if (first <= last) AddBytes(at, first, last, tail(rest));
  };
  constexpr uint32_t kLengthLast[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
  for (CodeRange range : expr.ranges) {
    for (const uint32_t length_last : kLengthLast) {
      if (range.first > length_last || range.first > range.last) continue;
      const Utf8 low = Encode(range.first), high = Encode(std::min(range.last, length_last));
      add(add, from, Bytes(low.bytes).first(low.size), Bytes(high.bytes).first(high.size));
      range.first = length_last + 1;
    }
  }
}

void Nfa::BuildSequence(const Expr& expr, int32_t from, int32_t to) {
  for (const ExprId part : expr.parts) {
    const int32_t next = NewState();
    Build(part, from, next);
    from = next;
  }
  AddEmpty(from, to);
}

void Nfa::BuildRepeat(const Expr& expr, int32_t from, int32_t to) {
  const ExprId part = expr.parts[0];
  // Of something that nothing satisfies: none of it, as min is 0 then.
  if (!facts_.productive[static_cast<size_t>(part)]) return AddEmpty(from, to);
  for (int32_t i = 0; i < expr.min && !full_; ++i) {
    const int32_t next = NewState();
    Build(part, from, next);
    from = next;
  }
  if (expr.max == Rules::kUnbounded) {
    const int32_t loop = NewState();
    AddEmpty(from, loop);
    Build(part, loop, loop);
    return AddEmpty(loop, to);
  }
  for (int32_t i = expr.min; i < expr.max && !full_; ++i) {
    AddEmpty(from, to);
    const int32_t next = NewState();
    Build(part, from, next);
    from = next;
  }
  AddEmpty(from, to);
}

void Nfa::BuildCall(const Expr& expr, int32_t from, int32_t to) {
  if (facts_.inlined[static_cast<size_t>(expr.rule)]) {
    return Build(rules_.body(expr.rule), from, to);
  }
  State& state = states_[static_cast<size_t>(from)];
  call_edges_.push_back({.rule = expr.rule, .to = to, .next = state.calls});
  state.calls = static_cast<int32_t>(call_edges_.size() - 1);
}

// Two tracks: nothing there yet, and something there, after which a separator must come.
void Nfa::BuildList(const Expr& expr, int32_t from, int32_t to) {
  int32_t nothing = from, something = NewState();
  for (size_t i = 1; i < expr.parts.size() && !full_; ++i) {
    if (!facts_.productive[static_cast<size_t>(expr.parts[i])]) continue;
    const int32_t item = NewState(), next = NewState();
    if (nothing >= 0) AddEmpty(nothing, item);
    Build(expr.parts[0], something, item);
    Build(expr.parts[i], item, next);
    if (expr.optional[i]) {
      AddEmpty(something, next);
    } else {
      nothing = -1;
    }
    something = next;
  }
  if (nothing >= 0) AddEmpty(nothing, to);
  AddEmpty(something, to);
}

void Nfa::BuildGraph(const Graph& graph, int32_t from, int32_t to) {
  std::vector<int32_t> states;
  for (const bool final : graph.final) {
    states.push_back(NewState());
    if (full_) return;
    if (final) AddEmpty(states.back(), to);
  }
  AddEmpty(from, states[0]);
  for (const Graph::Edge& edge : graph.edges) {
    AddBytes(states[static_cast<size_t>(edge.from)], edge.first, edge.last,
             states[static_cast<size_t>(edge.to)]);
  }
}

}  // namespace conclave::engine::grammar
