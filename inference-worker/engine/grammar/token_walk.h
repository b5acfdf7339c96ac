// The walk down the tree of tokens that finds which of them a grammar reads next.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/runs.h"
#include "engine/grammar/stacks.h"
#include "engine/grammar/token_mask.h"
#include "engine/grammar/token_trie.h"

namespace conclave::engine::grammar {

// Adds to one mask. What is known to be read whole (runs.h) is not walked.
class TokenWalk final {
 public:
  // So many characters must a stretch have for `beyond` below.
  static constexpr uint8_t kBeyond = 64;

  struct Parts {
    const Automaton& automaton;
    const RunTable& runs;
    const TokenTrie& trie;
  };
  TokenWalk(const Parts& parts, Stacks& stacks, TokenMask& mask)
      : automaton_(parts.automaton),
        runs_(parts.runs),
        trie_(parts.trie),
        stacks_(stacks),
        mask_(mask) {}

  // The tokens below `node` that `items` read.
  void Below(int32_t node, const Items& items);
  // Tokens of one kind of characters, of so many at most; no `tokens`: none.
  struct Texts {
    std::shared_ptr<const TextTokens> tokens;
    uint8_t scalars_max = 0;
  };
  // The tokens that `state` reads before its rule ends: those told, and others in the mask. `ends`
  // becomes the nodes down to which the rule may end with more below that could follow. Where the
  // rule has ended, any kBeyond characters of `beyond` are read for sure: tokens with such an end
  // are among them, too, and no `ends`. Null: not known.
  Texts Inside(int32_t state, const Characters* beyond, std::vector<int32_t>* ends);

  int64_t num_nodes() const { return num_nodes_; }  // looked at so far

 private:
  void One(int32_t node, const Item& item);
  void Reach(int32_t node, Items& items);
  bool ReadsAllBelow(int32_t node, int32_t state, bool outermost) const;
  bool ReadsOneBelow(int32_t node, int32_t state) const;
  bool DoneBelow(int32_t node) const;
  Texts TextsOf(int32_t state);
  void Allow(int32_t node);
  void AllowBelow(int32_t node);
  bool NoteEnd(int32_t node);
  bool GoesOnWith(int32_t node, const Characters& set) const;

  const Automaton& automaton_;
  const RunTable& runs_;
  const TokenTrie& trie_;
  Stacks& stacks_;
  TokenMask& mask_;
  // During Inside.
  std::vector<int32_t>* ends_ = nullptr;
  const Characters* beyond_ = nullptr;
  const Characters* follow_ = nullptr;
  const Run* run_ = nullptr;  // of the state; null when its texts were not added beforehand
  int added_ = 0;             // texts of up to so many of its characters were
  bool beyond_run_ = false;   // also past the end of the rule
  int64_t num_nodes_ = 0;
};

}  // namespace conclave::engine::grammar
