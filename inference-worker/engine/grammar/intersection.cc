#include "engine/grammar/intersection.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace conclave::engine::grammar {
namespace {

constexpr size_t kStatesMax = 20'000;

absl::StatusOr<Automaton> Stackless(const Rules& rules) {
  ASSIGN_OR_RETURN(Automaton automaton, CompileRules(rules, kSmallWorkMax));
  if (!automaton.calls.empty())
    return base::Unimplemented("counts above 256 are too large for that");
  return automaton;
}

using Pair = std::pair<int32_t, int32_t>;
struct PairHash {
  size_t operator()(const Pair& pair) const {
    return (static_cast<size_t>(static_cast<uint32_t>(pair.first)) << 32 ^
            static_cast<uint32_t>(pair.second)) *
           0x9E3779B97F4A7C15;
  }
};

// What two things that read along with each other accept, by the pairs of their states. `next` of a
// pair and a byte; nullopt: nothing is read. Bytes of the same `kind` are read alike.
template <typename Kind, typename Next, typename Final>
absl::StatusOr<Graph> Along(Pair begin, bool accepts_empty, Kind kind, Next next, Final is_final) {
  std::unordered_map<Pair, int32_t, PairHash> known = {{begin, 0}};
  std::vector<Pair> states = {begin};
  Graph graph;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states.size() > kStatesMax) return base::Unimplemented("that is too complex together");
    const Pair at = states[i];
    graph.final.push_back(is_final(at));
    int32_t last = -1;
    for (int byte = 0; byte < 256; ++byte) {
      const bool alike =
          byte > 0 && kind(static_cast<uint8_t>(byte)) == kind(static_cast<uint8_t>(byte - 1));
      std::optional<Pair> pair;
      if (!alike) pair = next(at, static_cast<uint8_t>(byte));
      int32_t to = alike ? last : -1;
      if (pair) {
        const auto [found, is_new] = known.try_emplace(*pair, static_cast<int32_t>(states.size()));
        if (is_new) states.push_back(*pair);
        to = found->second;
      }
      if (to >= 0 && to == last) {
        graph.edges.back().last = static_cast<uint8_t>(byte);
      } else if (to >= 0) {
        const auto one = static_cast<uint8_t>(byte);
        graph.edges.push_back(
            {.from = static_cast<int32_t>(i), .first = one, .last = one, .to = to});
      }
      last = to;
    }
  }
  // Where a rule begins it has no empty word; nothing leads back there if it could have one.
  graph.final[0] = accepts_empty;
  graph = Trimmed(graph);
  if (graph.final.empty()) return base::InvalidArgument("no text satisfies both");
  return graph;
}

int32_t BeginOf(const Automaton& automaton) {
  return automaton.entries[static_cast<size_t>(automaton.root)];
}
bool IsFinal(const Automaton& automaton, int32_t state) {
  return state != Automaton::kDead && automaton.states[static_cast<size_t>(state)].final;
}

absl::StatusOr<Graph> Product(const Rules& a_rules, const Rules& b_rules, bool without) {
  ASSIGN_OR_RETURN(const Automaton a, Stackless(a_rules));
  ASSIGN_OR_RETURN(const Automaton b, Stackless(b_rules));
  const auto next = [&](Pair at, uint8_t byte) -> std::optional<Pair> {
    const int32_t next_a = a.Next(at.first, byte);
    const int32_t next_b = at.second == Automaton::kDead ? at.second : b.Next(at.second, byte);
    if (next_a == Automaton::kDead || (next_b == Automaton::kDead && !without)) return {};
    return Pair(next_a, next_b);
  };
  const auto kind = [&](uint8_t byte) { return a.class_of[byte] * 256 + b.class_of[byte]; };
  return Along({BeginOf(a), BeginOf(b)}, a.accepts_empty && b.accepts_empty != without, kind, next,
               [&](Pair at) { return IsFinal(a, at.first) && IsFinal(b, at.second) != without; });
}

}  // namespace

absl::StatusOr<Graph> Intersect(const Rules& a, const Rules& b) { return Product(a, b, false); }
absl::StatusOr<Graph> Subtract(const Rules& a, const Rules& b) { return Product(a, b, true); }

absl::StatusOr<Graph> WithLength(const Rules& rules, int32_t min, int32_t max) {
  ASSIGN_OR_RETURN(const Automaton automaton, Stackless(rules));
  const auto begins = [](uint8_t byte) { return byte < 0x80 || byte >= 0xC0 ? 1 : 0; };
  const auto kind = [&](uint8_t byte) { return automaton.class_of[byte] * 2 + begins(byte); };
  const auto next = [&](Pair at, uint8_t byte) -> std::optional<Pair> {
    const int32_t state = automaton.Next(at.first, byte);
    const int32_t count = at.second + begins(byte);
    if (state == Automaton::kDead || (max != Rules::kUnbounded && count > max)) return {};
    return Pair(state, max == Rules::kUnbounded ? std::min(count, min) : count);
  };
  return Along({BeginOf(automaton), 0}, automaton.accepts_empty && min == 0, kind, next,
               [&](Pair at) { return IsFinal(automaton, at.first) && at.second >= min; });
}

absl::StatusOr<Graph> AsGraph(const Rules& rules) {
  ASSIGN_OR_RETURN(const Automaton automaton, Stackless(rules));
  return Along(
      {BeginOf(automaton), 0}, automaton.accepts_empty,
      [&](uint8_t byte) { return automaton.class_of[byte]; },
      [&](Pair at, uint8_t byte) -> std::optional<Pair> {
        const int32_t state = automaton.Next(at.first, byte);
        if (state == Automaton::kDead) return {};
        return Pair(state, 0);
      },
      [&](Pair at) { return IsFinal(automaton, at.first); });
}

}  // namespace conclave::engine::grammar
