// The grammars that were asked for lately, ready for use: compiling one takes milliseconds, and the
// masks found out for one request serve the next. Thread-safe.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/grammar/answer.h"
#include "engine/grammar/token_grammar.h"

namespace conclave::backends {

class GrammarCache final {
 public:
  using Grammar = std::shared_ptr<const engine::grammar::TokenGrammar>;

  GrammarCache(std::shared_ptr<const engine::grammar::TokenTrie> trie,
               engine::grammar::IsControl is_control)
      : trie_(std::move(trie)), is_control_(std::move(is_control)) {}

  // INVALID_ARGUMENT and UNIMPLEMENTED as engine/grammar/answer.h, with the place as param: nothing
  // runs unconstrained that was asked to be constrained.
  absl::StatusOr<Grammar> Get(const engine::grammar::AnswerShape& shape);

 private:
  struct Entry {
    std::string key;
    Grammar grammar;
  };
  Grammar Find(const std::string& key);
  void Keep(std::string key, const Grammar& grammar);

  const std::shared_ptr<const engine::grammar::TokenTrie> trie_;
  const engine::grammar::IsControl is_control_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // last used first
};

}  // namespace conclave::backends
