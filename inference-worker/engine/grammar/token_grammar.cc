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
constexpr int64_t kPrepareNodesMax = 3'000'000;
// How many bytes a state must read for its mask to be worth preparing.
constexpr int kWideBytes = 64;

size_t Index(int32_t id) { return static_cast<size_t>(id); }

// What ends there ends the text.
std::vector<bool> OutermostOf(const Automaton& automaton) {
  std::vector<bool> outermost(automaton.states.size());
  for (const Automaton::Call& call : automaton.calls) {
    if (call.rule == automaton.root) return outermost;
  }
  std::vector<int32_t> todo = {automaton.entries[Index(automaton.root)]};
  while (!todo.empty()) {
    const int32_t state = todo.back();
    todo.pop_back();
    if (state < Automaton::kFirstState || outermost[Index(state)]) continue;
    outermost[Index(state)] = true;
    const auto row = automaton.next.begin() + automaton.num_classes * static_cast<ptrdiff_t>(state);
    todo.insert(todo.end(), row, row + automaton.num_classes);
    for (const Automaton::Call& call : automaton.calls_of(state)) todo.push_back(call.target);
  }
  return outermost;
}

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
    if ((!about.final || last_rule_) && about.calls_begin == about.calls_end) {
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

TokenGrammar::Known::Known(Automaton compiled)
    : automaton(std::move(compiled)), outermost(OutermostOf(automaton)) {}

TokenGrammar::TokenGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie)
    : known_(std::make_shared<Known>(std::move(automaton))), trie_(std::move(trie)) {
  Prepare();
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
    MaskOf(state);
    left -= static_cast<int64_t>(trie_->nodes().size());
  }
}

std::shared_ptr<const StateMask> TokenGrammar::MaskOf(int32_t state) const {
  {
    const std::lock_guard lock(known_->mutex);
    if (const auto found = known_->masks.find(state); found != known_->masks.end())
      return found->second;
  }
  // Without the lock: two that come at once find the same.
  std::shared_ptr<const StateMask> mask = Compute(state);
  const std::lock_guard lock(known_->mutex);
  if (known_->masks_bytes > kMasksBytesMax) {
    known_->masks.clear();
    known_->masks_bytes = 0;
  }
  if (known_->masks.emplace(state, mask).second) known_->masks_bytes += mask->num_bytes();
  return mask;
}

std::shared_ptr<const StateMask> TokenGrammar::Compute(int32_t state) const {
  auto result = std::make_shared<StateMask>();
  auto mask = std::make_unique<TokenMask>(trie_->vocab_size());
  Stacks stacks(known_->automaton);
  // Its calls are items of their own beside it; here it is alone.
  const Items alone = {Stacks::Inside(state)};
  const bool last = known_->outermost[Index(state)];
  TokenWalk(known_->automaton, *trie_, stacks, *mask, last ? nullptr : &result->ends, last)
      .Below(0, alone);
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
  const std::lock_guard lock(known_->mutex);
  return known_->masks_bytes + known_->automaton.next.size() * sizeof(int32_t) +
         known_->automaton.states.size() * sizeof(Automaton::State);
}

}  // namespace conclave::engine::grammar
