// Remembers which full blocks of tokens have been computed, so that the next prompt with the same
// beginning shares them. Three verbs: Match, Insert, Evict.
//
// A block is known by the chain that leads to it: its 16 tokens and its parent, back to a root that
// stands for the cache salt. Chains of different salts never meet. The chained hash only finds the
// candidate; tokens and parent are compared, so a collision cannot hand out somebody else's keys.
//
// Owned by the step loop; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/kv/block.h"
#include "engine/kv/block_pool.h"
#include "engine/request.h"

namespace conclave::engine {

class PrefixCache final {
 public:
  // Where a sequence's chain stands: the last node it matched or inserted. A value, never stale in
  // a harmful way: ids are not used twice, and a node that is gone ends the chain.
  struct Cursor {
    uint64_t node = 0;  // 0 = at the root, nothing matched yet
    bool broken = false;
  };

  struct MatchResult {
    std::vector<Block> blocks;  // in order, from the first token on
    Cursor cursor;
  };

  // `pool` outlives the cache.
  PrefixCache(BlockPool* pool, int32_t block_tokens);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The longest run of cached blocks at the beginning of `tokens`; only whole blocks count.
  MatchResult Match(std::string_view salt, std::span<const TokenId> tokens);

  // `block` holds the keys and values of `tokens` (exactly one block of them), which follow what
  // `cursor` stands for. Where the chain is already known the first comer stays and `block` remains
  // private to its sequence. Advances the cursor.
  void Insert(std::string_view salt, Cursor& cursor, std::span<const TokenId> tokens,
              const Block& block);

  // Gives up to `count` blocks back to the pool, leaves first, the longest unused first, never one
  // that a sequence holds. Returns how many.
  int32_t Evict(int32_t count);

  int32_t num_blocks() const { return static_cast<int32_t>(nodes_.size() - num_roots_); }

 private:
  struct Node {
    uint64_t id = 0;
    uint64_t parent = 0;          // 0 for a root
    uint64_t hash = 0;            // of the whole chain up to here, salt included
    std::string salt;             // roots only
    std::vector<TokenId> tokens;  // empty for a root
    Block block;                  // empty for a root
    int32_t num_children = 0;
    uint64_t last_use = 0;
  };

  uint64_t ChildHash(uint64_t parent_hash, std::span<const TokenId> tokens) const;
  Node* FindRoot(std::string_view salt);
  Node* FindChild(const Node& parent, std::span<const TokenId> tokens);
  Node& AddNode(Node node);
  void Touch(Node& node);
  void Remove(Node& node);

  BlockPool* const pool_;
  const int32_t block_tokens_;
  uint64_t next_id_ = 1;
  uint64_t now_ = 0;  // counts uses; a clock that tests need not hold
  size_t num_roots_ = 0;
  std::unordered_map<uint64_t, Node> nodes_;             // by id
  std::unordered_multimap<uint64_t, uint64_t> by_hash_;  // chain hash → node ids
  std::map<std::string, uint64_t, std::less<>> roots_;   // salt → node id
  std::set<std::pair<uint64_t, uint64_t>> leaves_;       // (last use, id) of blocks without child
};

}  // namespace conclave::engine
