#include "engine/grammar/matcher.h"

#include <algorithm>
#include <utility>

namespace conclave::engine::grammar {
namespace {

constexpr size_t kRecentMax = 8;

// The characters that are read for sure where an item returns to, of a long stretch; null: none.
const Characters* BeyondOf(const Items& returns, const RunTable& runs) {
  const Characters* most = nullptr;
  for (const Item& item : returns) {
    const Run& run = runs.of(item.state);
    if (run.length < TokenWalk::kBeyond) continue;
    if (most == nullptr || most->all_in(run.characters)) most = &run.characters;
  }
  return most;
}

}  // namespace

Matcher::Matcher(std::shared_ptr<const TokenGrammar> grammar)
    : reasoning_(grammar->FollowReasoning()),
      grammar_(std::move(grammar)),
      stacks_(grammar_->automaton()),
      items_(stacks_.Start()) {}

const TokenMask& Matcher::Mask() {
  if (reasoning_ && reasoning_->forced()) {
    forced_.emplace(grammar_->trie().vocab_size());
    forced_->Allow(*reasoning_->forced());
    return *forced_;
  }
  const auto found = std::find_if(recent_.begin(), recent_.end(),
                                  [&](const auto& entry) { return entry.first == items_; });
  if (found != recent_.end()) return found->second;
  if (recent_.size() >= kRecentMax) recent_.pop_front();
  return recent_.emplace_back(items_, Compute()).second;
}

TokenMask Matcher::Compute() {
  const TokenTrie& trie = grammar_->trie();
  TokenMask mask(trie.vocab_size());
  stacks_.Refresh();
  TokenWalk walk(grammar_->parts(), stacks_, mask);
  for (const Item& item : items_) {
    if (item.state < Automaton::kFirstState) continue;
    const Items returns = stacks_.Returns(item);
    const std::shared_ptr<const StateMask> known =
        grammar_->MaskOf(item.state, BeyondOf(returns, grammar_->parts().runs));
    failed_ = failed_ || known->failed;
    if (known->texts.tokens != nullptr) {
      known->texts.tokens->AddTo(&mask, known->texts.scalars_max);
    }
    if (known->many != nullptr) mask.AllowAll(*known->many);
    for (const TokenId token : known->few) mask.Allow(token);
    for (const int32_t node : known->ends) walk.Below(node, returns);
  }
  return status().ok() ? mask : TokenMask(trie.vocab_size());
}

bool Matcher::Accept(TokenId token) {
  const TokenTrie& trie = grammar_->trie();
  if (token < 0 || token >= trie.vocab_size() || trie.bytes(token).empty()) return false;
  Items at = items_, next;
  stacks_.Refresh();
  for (const char byte : trie.bytes(token)) {
    stacks_.Step(at, static_cast<uint8_t>(byte), &next);
    if (next.empty()) return false;
    std::swap(at, next);
  }
  items_ = std::move(at);
  if (reasoning_) reasoning_->Accept(token, trie.bytes(token));
  return true;
}

bool Matcher::may_end() const {
  const bool forced = reasoning_ && reasoning_->forced();
  return !forced && !items_.empty() && items_.front().state == Automaton::kEnd;
}

absl::Status Matcher::status() const {
  if (!failed_ && !stacks_.overflown()) return absl::OkStatus();
  return base::ResourceExhausted("the grammar is too ambiguous to follow");
}

}  // namespace conclave::engine::grammar
