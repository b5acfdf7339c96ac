#include "engine/grammar/token_grammar.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace conclave::engine::grammar {
namespace {

// Of masks one grammar remembers; beyond it they are forgotten and found out again.
constexpr size_t kMasksBytesMax = 32u << 20;
// Nodes of the tree looked at beforehand: some ten milliseconds.
constexpr int64_t kPrepareNodesMax = 1'000'000;
constexpr size_t kBeyondsMax = 64;
// How many bytes a state must read for its mask to be worth preparing.
constexpr int kWideBytes = 32;

}  // namespace

size_t StateMask::num_bytes() const {
  return sizeof(*this) + few.size() * sizeof(TokenId) + ends.size() * sizeof(int32_t) +
         (many == nullptr ? 0 : many->num_bytes());
}

TokenGrammar::Known::Known(Automaton compiled) : automaton(std::move(compiled)), runs(automaton) {}

int64_t TokenGrammar::Known::KeyOf(int32_t state, const Characters** beyond) {
  if (*beyond == nullptr) return state;
  auto found = std::find(beyonds.begin(), beyonds.end(), **beyond);
  if (found == beyonds.end()) {
    if (beyonds.size() == kBeyondsMax) {
      *beyond = nullptr;
      return state;
    }
    found = beyonds.insert(found, **beyond);
  }
  return state + (int64_t{1} << 32) * (1 + (found - beyonds.begin()));
}

TokenGrammar::TokenGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie, bool prepare)
    : known_(std::make_shared<Known>(std::move(automaton))), trie_(std::move(trie)) {
  if (prepare) Prepare();
}

TokenGrammar::TokenGrammar(const TokenGrammar& grammar, ReasoningLimit limit)
    : known_(grammar.known_), trie_(grammar.trie_), limit_(std::move(limit)) {
  CHECK(!limit_->closing.empty() && !limit_->begin.empty() && !limit_->end.empty());
  std::string text;
  for (size_t i = 0; i < limit_->closing.size(); ++i) {
    text += trie_->bytes(limit_->closing[i]);
    if (text.find(limit_->end) != std::string::npos) break;
    limit_lead_ = i + 1;
  }
}

std::optional<ReasoningFollower> TokenGrammar::FollowReasoning() const {
  if (!limit_) return std::nullopt;
  return ReasoningFollower(&*limit_, limit_lead_);
}

void TokenGrammar::Prepare() {
  int64_t left = kPrepareNodesMax;
  const auto num_states = static_cast<int32_t>(known_->automaton.states.size());
  for (int32_t state = Automaton::kFirstState; state < num_states && left > 0; ++state) {
    int bytes = 0;
    for (int byte = 0; byte < 256; ++byte) {
      if (known_->automaton.Next(state, static_cast<uint8_t>(byte)) != Automaton::kDead) ++bytes;
    }
    if (bytes < kWideBytes) continue;
    left -= MaskOf(state)->num_nodes;
  }
}

// Forgets a few at a time: giving back the memory of many would take a step's time.
void TokenGrammar::Known::Keep(int64_t key, std::shared_ptr<const StateMask> mask) {
  const size_t bytes = mask->num_bytes();
  if (!masks.emplace(key, std::move(mask)).second) return;
  masks_bytes += bytes;
  oldest.push_back(key);
  while (masks_bytes > kMasksBytesMax && oldest.size() > 1) {
    const auto found = masks.find(oldest.front());
    masks_bytes -= found->second->num_bytes();
    masks.erase(found);
    oldest.pop_front();
  }
}

std::shared_ptr<const StateMask> TokenGrammar::MaskOf(int32_t state,
                                                      const Characters* beyond) const {
  int64_t key = 0;
  {
    const std::lock_guard lock(known_->mutex);
    key = known_->KeyOf(state, &beyond);
    if (const auto found = known_->masks.find(key); found != known_->masks.end()) {
      return found->second;
    }
  }
  // Without the lock: two that come at once find the same.
  std::shared_ptr<const StateMask> mask = Compute(state, beyond);
  const std::lock_guard lock(known_->mutex);
  known_->Keep(key, mask);
  return mask;
}

std::shared_ptr<const StateMask> TokenGrammar::Compute(int32_t state,
                                                       const Characters* beyond) const {
  auto result = std::make_shared<StateMask>();
  auto mask = std::make_unique<TokenMask>(trie_->vocab_size());
  Stacks stacks(known_->automaton);
  TokenWalk walk(parts(), stacks, *mask);
  result->texts = walk.Inside(state, beyond, &result->ends);
  result->num_nodes = walk.num_nodes();
  result->failed = stacks.overflown();
  const size_t count = mask->count();
  if (count * sizeof(TokenId) >= mask->num_bytes()) {
    result->many = std::move(mask);
    return result;
  }
  result->few.reserve(count);
  mask->ForEach([&](TokenId id) { result->few.push_back(id); });
  return result;
}

size_t TokenGrammar::num_bytes() const {
  const std::lock_guard lock(known_->mutex);
  return known_->masks_bytes + known_->automaton.next.size() * sizeof(int32_t) +
         known_->automaton.states.size() * sizeof(Automaton::State) + known_->runs.num_bytes();
}

}  // namespace conclave::engine::grammar
