// A compiled grammar: one deterministic automaton over bytes for all rules, whose states may also
// call a rule and go on where the call says when that rule has ended. What remembers the calls is
// in stacks.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

struct Automaton {
  static constexpr int32_t kDead = -1;
  static constexpr int32_t kEnd = 0;      // the root rule has ended
  static constexpr int32_t kOutside = 1;  // see stacks.h
  static constexpr int32_t kFirstState = 2;

  struct Call {
    int32_t rule = 0;
    int32_t target = 0;
  };
  struct State {
    bool final = false;       // its rule may end here
    bool only_final = false;  // … and does nothing else
    int32_t calls_begin = 0;  // in `calls`, by rule
    int32_t calls_end = 0;
  };

  int32_t Next(int32_t state, uint8_t byte) const {
    return next[static_cast<size_t>(state) * static_cast<size_t>(num_classes) + class_of[byte]];
  }
  bool has_calls(int32_t state) const {
    const State& s = states[static_cast<size_t>(state)];
    return s.calls_begin != s.calls_end;
  }
  std::span<const Call> calls_of(int32_t state) const {
    const State& s = states[static_cast<size_t>(state)];
    return std::span(calls).subspan(static_cast<size_t>(s.calls_begin),
                                    static_cast<size_t>(s.calls_end - s.calls_begin));
  }

  std::array<uint8_t, 256> class_of{};  // bytes that no state tells apart share a class
  int32_t num_classes = 1;
  std::vector<int32_t> next;  // [state][class]
  std::vector<State> states;
  std::vector<Call> calls;
  // Where a called rule begins; it has no empty word there, as its callers have the shortcut.
  // A rule calls before reading anything only rules of a larger number.
  std::vector<int32_t> entries;
  int32_t root = 0;
  bool accepts_empty = false;
};

// INVALID_ARGUMENT: an undefined rule, left recursion, nothing that could satisfy the rules, or
// more states than the limits allow (mesh reference I6). Work is bounded whatever the rules are.
absl::StatusOr<Automaton> CompileRules(const Rules& rules);
// The same with less work than that: for one of many that go into another grammar.
inline constexpr int64_t kSmallWorkMax = 200'000;
absl::StatusOr<Automaton> CompileRules(const Rules& rules, int64_t work_max);

}  // namespace conclave::engine::grammar
