// Gives out KV blocks and takes them back. Counts only: the memory belongs to KvStore.
// Owned by the step loop; not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "engine/kv/block.h"

namespace conclave::engine {

class BlockPool final {
 public:
  explicit BlockPool(int32_t num_blocks);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // All or nothing. RESOURCE_EXHAUSTED tells the scheduler to evict or preempt.
  absl::StatusOr<std::vector<Block>> Allocate(int32_t count);

  int32_t num_blocks() const { return static_cast<int32_t>(handles_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  // Blocks that the prefix cache alone holds: computed, wanted by nobody now, there to be evicted.
  int32_t num_idle() const { return num_idle_; }
  // Blocks that some sequence holds.
  int32_t num_used() const { return num_blocks() - num_free() - num_idle_; }

  int32_t num_handles(int32_t block_index) const { return handles_[block_index]; }

  // The prefix cache says here which handles are its own, so that num_idle can be kept by counting.
  void MarkCached(const Block& block, bool cached);

 private:
  friend class Block;  // a Block returns itself when its last copy goes
  void AddHandle(int32_t block_index);
  void DropHandle(int32_t block_index);

  std::vector<int32_t> free_;     // a stack: recently used blocks are warm in cache
  std::vector<int32_t> handles_;  // per block
  std::vector<char> cached_;      // per block: one of its handles belongs to the prefix cache
  int32_t num_idle_ = 0;
};

}  // namespace conclave::engine
