// The rules as one nondeterministic automaton over bytes (Thompson's construction), each rule with
// its own begin and end. What nothing can satisfy is left out, so every state leads to an end.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/grammar/rule_facts.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

class Nfa final {
 public:
  static constexpr size_t kStatesMax = 262'144;

  // Edges of a state are chained: `next` is the index of the state's next one, or -1.
  struct ByteEdge {
    uint8_t first;
    uint8_t last;
    int32_t to;
    int32_t next;
  };
  struct EmptyEdge {
    int32_t to;
    int32_t next;
  };
  struct CallEdge {
    RuleId rule;
    int32_t to;
    int32_t next;
  };
  struct State {
    int32_t bytes = -1;
    int32_t empties = -1;
    int32_t calls = -1;
  };

  Nfa(const Rules& rules, const RuleFacts& facts);

  // The states were too many; nothing else is to be asked then.
  bool full() const { return full_; }
  int32_t begin(RuleId rule) const { return begins_[static_cast<size_t>(rule)]; }  // -1: inlined
  int32_t end(RuleId rule) const { return ends_[static_cast<size_t>(rule)]; }
  const State& state(int32_t id) const { return states_[static_cast<size_t>(id)]; }
  const ByteEdge& byte_edge(int32_t id) const { return byte_edges_[static_cast<size_t>(id)]; }
  const EmptyEdge& empty_edge(int32_t id) const { return empty_edges_[static_cast<size_t>(id)]; }
  const CallEdge& call_edge(int32_t id) const { return call_edges_[static_cast<size_t>(id)]; }
  const std::vector<ByteEdge>& byte_edges() const { return byte_edges_; }
  size_t num_states() const { return states_.size(); }

 private:
  int32_t NewState();
  void AddBytes(int32_t from, uint8_t first, uint8_t last, int32_t to);
  void AddEmpty(int32_t from, int32_t to);
  void Build(ExprId id, int32_t from, int32_t to);
  void BuildText(const Expr& expr, int32_t from, int32_t to);
  void BuildSet(const Expr& expr, int32_t from, int32_t to);
  void BuildSequence(const Expr& expr, int32_t from, int32_t to);
  void BuildRepeat(const Expr& expr, int32_t from, int32_t to);
  void BuildCall(const Expr& expr, int32_t from, int32_t to);
  void BuildList(const Expr& expr, int32_t from, int32_t to);
  void BuildGraph(const Graph& graph, int32_t from, int32_t to);

  const Rules& rules_;
  const RuleFacts& facts_;
  std::vector<State> states_;
  std::vector<ByteEdge> byte_edges_;
  std::vector<EmptyEdge> empty_edges_;
  std::vector<CallEdge> call_edges_;
  std::vector<int32_t> begins_;
  std::vector<int32_t> ends_;
  bool full_ = false;
};

}  // namespace conclave::engine::grammar
