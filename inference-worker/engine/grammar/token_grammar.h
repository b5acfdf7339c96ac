// A grammar over the tokens of one vocabulary, and what has been found out about it so far: which
// tokens may follow in a state of a rule whatever called the rule. That is nearly all there is to
// know of a step; the tokens that reach past the end of the rule are left to the matcher.
// Shared by all requests that ask for the same shape. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/reasoning_limit.h"
#include "engine/grammar/runs.h"
#include "engine/grammar/token_trie.h"
#include "engine/grammar/token_walk.h"
#include "engine/request.h"

namespace conclave::engine::grammar {

// Of one state: the tokens that may follow within its rule, and the nodes of the tree on the way to
// which the rule may end.
struct StateMask {
  TokenWalk::Texts texts;
  std::unique_ptr<const TokenMask> many;  // besides, either these
  std::vector<TokenId> few;               // or these
  std::vector<int32_t> ends;              // only nodes with more below them that could follow
  bool failed = false;                    // too ambiguous to find out
  int64_t num_nodes = 0;                  // looked at for it
  size_t num_bytes() const;
};

class TokenGrammar final {
 public:
  // Finds out about the states that are dearest to know beforehand, for a few milliseconds of work;
  // without `prepare` about none.
  TokenGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie, bool prepare = true);
  // The same grammar, and all that is known of it, with a limit to the reasoning in its texts.
  // Preconditions: `closing` and both tags are not empty.
  TokenGrammar(const TokenGrammar& grammar, ReasoningLimit limit);

  const Automaton& automaton() const { return known_->automaton; }
  const TokenTrie& trie() const { return *trie_; }
  // Found out now, or remembered. `beyond` as TokenWalk::Inside; null: nothing is known.
  std::shared_ptr<const StateMask> MaskOf(int32_t state, const Characters* beyond = nullptr) const;
  TokenWalk::Parts parts() const { return {known_->automaton, known_->runs, *trie_}; }
  size_t num_bytes() const;  // of memory, as it stands
  // At the beginning of a text; nullopt: no limit.
  std::optional<ReasoningFollower> FollowReasoning() const;

 private:
  struct Known {
    explicit Known(Automaton compiled);
    const Automaton automaton;
    const RunTable runs;
    std::mutex mutex;
    std::vector<Characters> beyonds;                                      // that were asked with
    std::unordered_map<int64_t, std::shared_ptr<const StateMask>> masks;  // see KeyOf
    std::deque<int64_t> oldest;  // keys of `masks`, in the order they came
    size_t masks_bytes = 0;
    void Keep(int64_t key, std::shared_ptr<const StateMask> mask);  // with the mutex
    // Of the state and its `beyond`; with the mutex. Forgets `beyond` when there are too many
    // kinds.
    int64_t KeyOf(int32_t state, const Characters** beyond);
  };
  std::shared_ptr<const StateMask> Compute(int32_t state, const Characters* beyond) const;
  void Prepare();

  const std::shared_ptr<Known> known_;
  const std::shared_ptr<const TokenTrie> trie_;
  const std::optional<ReasoningLimit> limit_;
  size_t limit_lead_ = 0;
};

}  // namespace conclave::engine::grammar
