// The grammars that were asked for lately, ready for use: compiling one takes milliseconds, and the
// masks found out for one request serve the next. Thread-safe.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "engine/grammar/token_grammar.h"

namespace conclave::backends {

class GrammarCache final {
 public:
  using Grammar = std::shared_ptr<const engine::grammar::TokenGrammar>;

  explicit GrammarCache(std::shared_ptr<const engine::grammar::TokenTrie> trie)
      : trie_(std::move(trie)) {}

  // Null for text. INVALID_ARGUMENT and UNIMPLEMENTED as engine/grammar/compile.h, with param
  // response_format: nothing runs unconstrained that was asked to be constrained.
  absl::StatusOr<Grammar> Get(const ResponseFormat& format);

 private:
  struct Entry {
    ResponseFormat::Kind kind;
    std::string definition;
    Grammar grammar;
  };
  Grammar Find(const ResponseFormat& format);
  void Keep(const ResponseFormat& format, const Grammar& grammar);

  const std::shared_ptr<const engine::grammar::TokenTrie> trie_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // last used first
};

}  // namespace conclave::backends
