#include "engine/grammar/token_grammar.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace conclave::engine::grammar {
namespace {

// Of masks one grammar remembers; beyond it they are forgotten and found out again.
constexpr size_t kMasksBytesMax = 32u << 20;
// Nodes of the tree looked at beforehand: some ten milliseconds.
constexpr int64_t kPrepareNodesMax = 3'000'000;
// How many bytes a state must read for its mask to be worth preparing.
constexpr int kWideBytes = 64;

size_t Index(int32_t id) { return static_cast<size_t>(id); }

}  // namespace

size_t StateMask::num_bytes() const {
  return sizeof(*this) + few.size() * sizeof(TokenId) + ends.size() * sizeof(int32_t) +
         (many == nullptr ? 0 : many->num_bytes());
}

void TokenWalk::Allow(int32_t node) {
  for (const TokenId token : trie_.tokens_at(node)) mask_.Allow(token);
}

void TokenWalk::NoteEnd(int32_t node) {
  if (ends_ != nullptr && trie_.has_children(node)) ends_->push_back(node);
}

// After the bytes down to `node` the items are `items`, not empty.
void TokenWalk::Reach(int32_t node, Items& items) {
  Allow(node);
  const size_t before = items.size();
  std::erase_if(items, [](const Item& item) { return item.state == Automaton::kOutside; });
  if (items.size() != before) NoteEnd(node);
  if (!items.empty() && trie_.has_children(node)) Below(node, items);
}

void TokenWalk::Below(int32_t node, const Items& items) {
  if (items.size() == 1) return One(node, items[0]);
  Items next;
  const int32_t end = trie_.nodes()[Index(node)].end;
  for (int32_t child = node + 1; child < end; child = trie_.nodes()[Index(child)].end) {
    stacks_.Step(items, trie_.nodes()[Index(child)].byte, &next);
    if (!next.empty()) Reach(child, next);
  }
}

// The same for one item, as long as it neither calls nor returns: a plain automaton.
void TokenWalk::One(int32_t node, const Item& item) {
  const std::span<const TokenTrie::Node> nodes = trie_.nodes();
  const size_t base = nodes[Index(node)].depth;
  std::vector<int32_t> path(static_cast<size_t>(trie_.depth_max()) + 1 - base);
  path[0] = item.state;
  const int32_t end = nodes[Index(node)].end;
  Items from(1), next;
  for (int32_t at = node + 1; at < end;) {
    const TokenTrie::Node& here = nodes[Index(at)];
    const size_t depth = here.depth - base;
    const int32_t state = automaton_.Next(path[depth - 1], here.byte);
    if (state == Automaton::kDead) {
      at = here.end;
      continue;
    }
    const Automaton::State& about = automaton_.states[Index(state)];
    if (!about.final && about.calls_begin == about.calls_end) {
      Allow(at);
      path[depth] = state;
      ++at;
      continue;
    }
    from[0] = {.state = path[depth - 1], .node = item.node};
    stacks_.Step(from, here.byte, &next);
    if (!next.empty()) Reach(at, next);
    at = here.end;
  }
}

TokenGrammar::TokenGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie)
    : automaton_(std::move(automaton)), trie_(std::move(trie)) {
  Prepare();
}

void TokenGrammar::Prepare() {
  int64_t left = kPrepareNodesMax;
  const auto num_states = static_cast<int32_t>(automaton_.states.size());
  for (int32_t state = Automaton::kFirstState; state < num_states && left > 0; ++state) {
    int bytes = 0;
    for (int byte = 0; byte < 256; ++byte) {
      if (automaton_.Next(state, static_cast<uint8_t>(byte)) != Automaton::kDead) ++bytes;
    }
    if (bytes < kWideBytes) continue;
    MaskOf(state);
    left -= static_cast<int64_t>(trie_->nodes().size());
  }
}

std::shared_ptr<const StateMask> TokenGrammar::MaskOf(int32_t state) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = masks_.find(state); found != masks_.end()) return found->second;
  }
  // Without the lock: two that come at once find the same.
  std::shared_ptr<const StateMask> mask = Compute(state);
  const std::lock_guard lock(mutex_);
  if (masks_bytes_ > kMasksBytesMax) {
    masks_.clear();
    masks_bytes_ = 0;
  }
  if (masks_.emplace(state, mask).second) masks_bytes_ += mask->num_bytes();
  return mask;
}

std::shared_ptr<const StateMask> TokenGrammar::Compute(int32_t state) const {
  auto result = std::make_shared<StateMask>();
  auto mask = std::make_unique<TokenMask>(trie_->vocab_size());
  Stacks stacks(automaton_);
  // Its calls are items of their own beside it; here it is alone.
  const Items alone = {Stacks::Inside(state)};
  TokenWalk(automaton_, *trie_, stacks, *mask, &result->ends).Below(0, alone);
  result->failed = stacks.overflown();
  size_t count = 0;
  for (const uint64_t word : mask->words()) count += static_cast<size_t>(std::popcount(word));
  if (count * sizeof(TokenId) >= mask->num_bytes()) {
    result->many = std::move(mask);
    return result;
  }
  result->few.reserve(count);
  for (TokenId id = 0; id < trie_->vocab_size(); ++id) {
    if (mask->allows(id)) result->few.push_back(id);
  }
  return result;
}

size_t TokenGrammar::num_bytes() const {
  const std::lock_guard lock(mutex_);
  return masks_bytes_ + automaton_.next.size() * sizeof(int32_t) +
         automaton_.states.size() * sizeof(Automaton::State);
}

}  // namespace conclave::engine::grammar
