// Follows one output through a grammar: the mask of the tokens that may come next, and the step to
// the one that came. A function of the tokens so far, so a resumed output is followed again by
// accepting its tokens. Not thread-safe.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "base/status.h"
#include "engine/grammar/reasoning_limit.h"
#include "engine/grammar/stacks.h"
#include "engine/grammar/token_grammar.h"
#include "engine/request.h"

namespace conclave::engine::grammar {

class Matcher final {
 public:
  explicit Matcher(std::shared_ptr<const TokenGrammar> grammar);

  // Of the tokens after which the text can still be finished. Valid until the next call of Accept.
  const TokenMask& Mask();
  // False, and nothing changed, when the token may not come here.
  bool Accept(TokenId token);
  // What was accepted is a whole text of the grammar.
  bool may_end() const;
  // … and nothing can follow it.
  bool must_end() const { return may_end() && items_.size() == 1; }
  // RESOURCE_EXHAUSTED when the grammar is so ambiguous that following it took too much memory:
  // no token is allowed from then on.
  absl::Status status() const;

 private:
  TokenMask Compute();
  bool failed_ = false;
  std::optional<ReasoningFollower> reasoning_;
  std::optional<TokenMask> forced_;  // the one token, when there is only one

  const std::shared_ptr<const TokenGrammar> grammar_;
  Stacks stacks_;
  Items items_;
  std::deque<std::pair<Items, TokenMask>> recent_;  // a text often stands where it stood before
};

}  // namespace conclave::engine::grammar
