#include "engine/grammar/stacks.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace conclave::engine::grammar {
namespace {

constexpr int32_t kNodeEnd = 0;      // returns to Automaton::kEnd
constexpr int32_t kNodeOutside = 1;  // returns to Automaton::kOutside

}  // namespace

size_t Stacks::NodeHash::operator()(const Items& returns) const {
  uint64_t hash = returns.size();
  for (const Item& item : returns) {
    hash = (hash ^ static_cast<uint32_t>(item.state)) * 0x9E3779B97F4A7C15;
    hash = (hash ^ static_cast<uint32_t>(item.node)) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 29;
  }
  return static_cast<size_t>(hash);
}

Stacks::Stacks(const Automaton& automaton)
    : automaton_(automaton), pending_(automaton.entries.size()) {
  NodeOf({{.state = Automaton::kEnd, .node = kNodeEnd}});
  NodeOf({{.state = Automaton::kOutside, .node = kNodeEnd}});
}

Items Stacks::Start() {
  Items items;
  const auto root = static_cast<size_t>(automaton_.root);
  Add({.state = automaton_.entries[root], .node = kNodeEnd}, &items);
  if (automaton_.accepts_empty) Add({.state = Automaton::kEnd, .node = kNodeEnd}, &items);
  Close(&items);
  return items;
}

Item Stacks::Inside(int32_t state) { return {.state = state, .node = kNodeOutside}; }

Items Stacks::Returns(const Item& item) {
  Items items;
  for (const Item& to : *nodes_[static_cast<size_t>(item.node)]) Add(to, &items);
  Close(&items);
  return items;
}

void Stacks::Step(const Items& from, uint8_t byte, Items* to) {
  to->clear();
  for (const Item& item : from) {
    const int32_t next = automaton_.Next(item.state, byte);
    if (next != Automaton::kDead) Add({.state = next, .node = item.node}, to);
  }
  if (!to->empty()) Close(to);
}

void Stacks::Add(Item item, Items* items) {
  if (std::find(items->begin(), items->end(), item) == items->end()) items->push_back(item);
}

void Stacks::Close(Items* items) {
  // Returns first: a node's returns are older than it, so this ends.
  for (size_t i = 0; i < items->size(); ++i) {
    const Item item = (*items)[i];
    if (!automaton_.states[static_cast<size_t>(item.state)].final) continue;
    for (const Item& to : *nodes_[static_cast<size_t>(item.node)]) Add(to, items);
    if (items->size() > kItemsMax) break;
  }
  // What only returns has nothing to add any more.
  std::erase_if(*items, [&](const Item& item) {
    return automaton_.states[static_cast<size_t>(item.state)].only_final;
  });
  // Then the calls, rule by rule: of a rule all callers are known when its turn comes.
  CallAll(*items, 0);
  while (!to_call_.empty()) {
    std::pop_heap(to_call_.begin(), to_call_.end(), std::greater<>());
    const auto rule = static_cast<size_t>(to_call_.back());
    to_call_.pop_back();
    const int32_t node = NodeOf(std::exchange(pending_[rule], {}));
    items->push_back({.state = automaton_.entries[rule], .node = node});
    if (items->size() <= kItemsMax) CallAll(*items, items->size() - 1);
  }
  work_ += static_cast<int64_t>(items->size());
  if (items->size() > kItemsMax || work_ > kWorkMax) overflown_ = true;
  if (overflown_) return items->clear();
  std::sort(items->begin(), items->end());
}

void Stacks::CallAll(const Items& items, size_t from) {
  for (size_t i = from; i < items.size(); ++i) {
    const Item& item = items[i];
    for (const Automaton::Call& call : automaton_.calls_of(item.state)) {
      Items& returns = pending_[static_cast<size_t>(call.rule)];
      if (returns.empty()) {
        to_call_.push_back(call.rule);
        std::push_heap(to_call_.begin(), to_call_.end(), std::greater<>());
      }
      // A call that ends its rule returns where the rule would: lists that recurse at their end
      // stay flat.
      if (automaton_.states[static_cast<size_t>(call.target)].only_final) {
        for (const Item& to : *nodes_[static_cast<size_t>(item.node)]) Add(to, &returns);
      } else {
        Add({.state = call.target, .node = item.node}, &returns);
      }
    }
  }
}

int32_t Stacks::NodeOf(Items returns) {
  std::sort(returns.begin(), returns.end());
  const auto [found, is_new] =
      ids_.try_emplace(std::move(returns), static_cast<int32_t>(nodes_.size()));
  if (is_new) {
    if (nodes_.size() >= kNodesMax) overflown_ = true;
    nodes_.push_back(&found->first);
  }
  return found->second;
}

}  // namespace conclave::engine::grammar
