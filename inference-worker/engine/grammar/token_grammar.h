// A grammar over the tokens of one vocabulary, and what has been found out about it so far: which
// tokens may follow in a state of a rule whatever called the rule. That is nearly all there is to
// know of a step; the tokens that reach past the end of the rule are left to the matcher.
// Shared by all requests that ask for the same shape. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/reasoning_limit.h"
#include "engine/grammar/stacks.h"
#include "engine/grammar/token_trie.h"
#include "engine/request.h"

namespace conclave::engine::grammar {

// A bit per token id.
class TokenMask final {
 public:
  explicit TokenMask(int32_t vocab_size) : words_((static_cast<size_t>(vocab_size) + 63) / 64) {}
  void Allow(TokenId id) { words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64); }
  bool allows(TokenId id) const {
    const size_t word = static_cast<size_t>(id) / 64;
    return word < words_.size() && (words_[word] >> (id % 64) & 1) != 0;
  }
  void AllowAll(const TokenMask& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  std::span<const uint64_t> words() const { return words_; }
  size_t num_bytes() const { return words_.size() * sizeof(uint64_t); }
  friend bool operator==(const TokenMask&, const TokenMask&) = default;

 private:
  std::vector<uint64_t> words_;
};

// Of one state: the tokens that may follow within its rule, and the nodes of the tree on the way to
// which the rule may end.
struct StateMask {
  std::unique_ptr<const TokenMask> many;  // either this,
  std::vector<TokenId> few;               // or these
  std::vector<int32_t> ends;              // only nodes with more below them
  bool failed = false;                    // too ambiguous to find out
  size_t num_bytes() const;
};

// Adds the tokens below `node` that `items` can read to `mask`; where they lead outside of the rule
// they began in (Stacks::Inside), the nodes go to `ends`: null where nothing can, or, with
// `last_rule`, where nothing can follow either.
class TokenWalk final {
 public:
  TokenWalk(const Automaton& automaton, const TokenTrie& trie, Stacks& stacks, TokenMask& mask,
            std::vector<int32_t>* ends, bool last_rule = false)
      : automaton_(automaton),
        trie_(trie),
        stacks_(stacks),
        mask_(mask),
        ends_(ends),
        last_rule_(last_rule) {}
  void Below(int32_t node, const Items& items);

 private:
  void One(int32_t node, const Item& item);
  void Reach(int32_t node, Items& items);
  void Allow(int32_t node);
  void NoteEnd(int32_t node);

  const Automaton& automaton_;
  const TokenTrie& trie_;
  Stacks& stacks_;
  TokenMask& mask_;
  std::vector<int32_t>* ends_;
  const bool last_rule_;
};

class TokenGrammar final {
 public:
  // Finds out about the states that are dearest to know beforehand, for a few milliseconds of work.
  TokenGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie);
  // The same grammar, and all that is known of it, with a limit to the reasoning in its texts.
  // Preconditions: `closing` and both tags are not empty.
  TokenGrammar(const TokenGrammar& grammar, ReasoningLimit limit);

  const Automaton& automaton() const { return known_->automaton; }
  const TokenTrie& trie() const { return *trie_; }
  // Found out now, or remembered.
  std::shared_ptr<const StateMask> MaskOf(int32_t state) const;
  size_t num_bytes() const;  // of memory, as it stands
  // At the beginning of a text; nullopt: no limit.
  std::optional<ReasoningFollower> FollowReasoning() const;

 private:
  struct Known {
    explicit Known(Automaton compiled);
    const Automaton automaton;
    const std::vector<bool> outermost;  // by state: in the root, and nothing calls that
    std::mutex mutex;
    std::unordered_map<int32_t, std::shared_ptr<const StateMask>> masks;
    size_t masks_bytes = 0;
  };
  std::shared_ptr<const StateMask> Compute(int32_t state) const;
  void Prepare();

  const std::shared_ptr<Known> known_;
  const std::shared_ptr<const TokenTrie> trie_;
  const std::optional<ReasoningLimit> limit_;
  size_t limit_lead_ = 0;
};

}  // namespace conclave::engine::grammar
