#include "engine/grammar/intersection.h"

#include <map>
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

}  // namespace

absl::StatusOr<Graph> Intersect(const Rules& a_rules, const Rules& b_rules) {
  ASSIGN_OR_RETURN(const Automaton a, Stackless(a_rules));
  ASSIGN_OR_RETURN(const Automaton b, Stackless(b_rules));
  using Pair = std::pair<int32_t, int32_t>;
  std::map<Pair, int32_t> known;
  std::vector<Pair> states;
  const auto state_of = [&](Pair pair) {
    const auto [found, is_new] = known.try_emplace(pair, static_cast<int32_t>(states.size()));
    if (is_new) states.push_back(pair);
    return found->second;
  };
  const auto root = [](const Automaton& of) { return of.entries[static_cast<size_t>(of.root)]; };
  state_of({root(a), root(b)});
  Graph graph;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states.size() > kStatesMax) return base::Unimplemented("that is too complex together");
    const auto [at_a, at_b] = states[i];
    graph.final.push_back(a.states[static_cast<size_t>(at_a)].final &&
                          b.states[static_cast<size_t>(at_b)].final);
    int32_t last = -1;
    for (int byte = 0; byte < 256; ++byte) {
      const int32_t next_a = a.Next(at_a, static_cast<uint8_t>(byte));
      const int32_t next_b = b.Next(at_b, static_cast<uint8_t>(byte));
      const bool dead = next_a == Automaton::kDead || next_b == Automaton::kDead;
      const int32_t to = dead ? -1 : state_of({next_a, next_b});
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
  graph.final[0] = graph.final[0] || (a.accepts_empty && b.accepts_empty);
  graph = Trimmed(graph);
  if (graph.final.empty()) return base::InvalidArgument("no text satisfies both");
  return graph;
}

}  // namespace conclave::engine::grammar
