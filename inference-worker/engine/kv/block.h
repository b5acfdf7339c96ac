// A reference to one KV block. Copies share the block; when the last one goes, the block returns to
// its pool by itself. Owned by the step loop, like its pool: not thread-safe.
#pragma once

#include <cstdint>

namespace conclave::engine {

class BlockPool;

class Block final {
 public:
  Block() = default;
  Block(const Block& other);
  Block(Block&& other) noexcept;
  Block& operator=(const Block& other);
  Block& operator=(Block&& other) noexcept;
  ~Block();

  // Which block of the KvStore this is. Meaningless for an empty handle.
  int32_t index() const { return index_; }
  bool empty() const { return pool_ == nullptr; }
  // Handles to the same block, this one included; 0 for an empty handle.
  int32_t num_handles() const;

 private:
  friend class BlockPool;
  Block(BlockPool* pool, int32_t index) : pool_(pool), index_(index) {}

  BlockPool* pool_ = nullptr;  // outlives every handle
  int32_t index_ = -1;
};

}  // namespace conclave::engine
