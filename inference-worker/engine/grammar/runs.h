// Which stretches of text a state reads whatever their order: a state inside a string, say, reads
// any forty plain characters when forty are left of its length. What lies below a node of the tree
// of tokens and is nothing but such a stretch need not be walked, and states that differ only in
// how much is left differ in nothing else. Facts of an automaton, found out once.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/characters.h"

namespace conclave::engine::grammar {

// Of any `length` of `characters` in a row, in well-formed UTF-8, every beginning is read by the
// state within its rule, without calls; after no beginning of up to `quiet` may anything outside of
// the rule be read.
struct Run {
  static constexpr uint8_t kLengthMax = 254;  // or more

  Characters characters;
  uint8_t quiet = 0;  // <= length
  uint8_t length = 0;
  // After `length` of them no further one is read within the rule.
  bool strict = false;
};

struct RunTable {
  // Work and memory are linear in the table of the automaton.
  explicit RunTable(const Automaton& automaton);

  const Run& of(int32_t state) const { return runs[static_cast<size_t>(state)]; }
  // What may be read where the rule of `state` has ended, whatever has called it.
  const Characters& follow_of(int32_t state) const {
    return follow[static_cast<size_t>(rule_of[static_cast<size_t>(state)])];
  }
  size_t num_bytes() const { return runs.size() * sizeof(Run) + rule_of.size() * sizeof(int32_t); }

  std::vector<int32_t> rule_of;    // by state
  std::vector<Characters> follow;  // by rule
  std::vector<Run> runs;           // by state
};

}  // namespace conclave::engine::grammar
