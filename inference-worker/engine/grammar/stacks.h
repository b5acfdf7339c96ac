// Where a text stands in a grammar: all the ways it can be read so far, at once. Each way is a
// state of the automaton and the calls it will return to; ways that share calls share the memory of
// them (a graph-structured stack: Tomita, "Efficient Parsing for Natural Language", 1986), so the
// ways stay few however ambiguous a grammar is, and no way is ever tried and taken back.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/grammar/automaton.h"

namespace conclave::engine::grammar {

// A state and the node of its returns.
struct Item {
  int32_t state = 0;
  int32_t node = 0;
  friend auto operator<=>(const Item&, const Item&) = default;
};

// Sorted; with everything that calls and returns lead to. Empty: the text cannot be read.
using Items = std::vector<Item>;

// Owns the nodes its items speak of. The automaton outlives it. Not thread-safe.
class Stacks final {
 public:
  static constexpr size_t kItemsMax = 256;
  static constexpr size_t kNodesMax = 262'144;
  static constexpr int64_t kWorkMax = 8'000'000;  // items made: a good 100 ms

  explicit Stacks(const Automaton& automaton);

  // Before any text.
  Items Start();
  // `state` of a rule whose callers are not known: it returns to Automaton::kOutside. The item
  // alone, without what it calls.
  static Item Inside(int32_t state);
  // The items that `item` returns to when its rule ends.
  Items Returns(const Item& item);
  // `to` becomes what `from` is after the byte. `from` and `to` are different objects.
  void Step(const Items& from, uint8_t byte, Items* to);

  // The ways, or the work on them since Refresh, became too many; every later answer is empty.
  bool overflown() const { return overflown_; }
  void Refresh() { work_ = 0; }

 private:
  struct NodeHash {
    size_t operator()(const Items& returns) const;
  };

  void Add(Item item, Items* items);
  void Close(Items* items);
  void CallAll(const Items& items, size_t from);
  int32_t NodeOf(Items returns);

  const Automaton& automaton_;
  std::vector<const Items*> nodes_;  // by id: where to return
  std::unordered_map<Items, int32_t, NodeHash> ids_;
  std::vector<Items> pending_;    // returns of the calls of each rule, during Close
  std::vector<int32_t> to_call_;  // rules with pending returns: a heap, smallest number first
  int64_t work_ = 0;
  bool overflown_ = false;
};

}  // namespace conclave::engine::grammar
