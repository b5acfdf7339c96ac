#include "engine/kv/block_pool.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace conclave::engine {

BlockPool::BlockPool(int32_t num_blocks) : handles_(num_blocks, 0), cached_(num_blocks, 0) {
  free_.reserve(num_blocks);
  // Descending, so that the first allocation takes block 0.
  for (int32_t i = num_blocks - 1; i >= 0; --i) free_.push_back(i);
}

BlockPool::~BlockPool() { CHECK(num_free() == num_blocks()); }

absl::StatusOr<std::vector<Block>> BlockPool::Allocate(int32_t count) {
  CHECK(count >= 0);
  if (count > num_free()) {
    return base::ResourceExhausted(
        absl::StrCat("kv: ", count, " blocks wanted, ", num_free(), " of ", num_blocks(), " free"));
  }
  std::vector<Block> blocks;
  blocks.reserve(count);
  for (int32_t i = 0; i < count; ++i) {
    const int32_t index = free_.back();
    free_.pop_back();
    handles_[index] = 1;
    blocks.push_back(Block(this, index));
  }
  return blocks;
}

void BlockPool::MarkCached(const Block& block, bool cached) {
  CHECK(block.pool_ == this && cached_[block.index()] != static_cast<char>(cached));
  cached_[block.index()] = static_cast<char>(cached);
  if (handles_[block.index()] == 1) num_idle_ += cached ? 1 : -1;
}

void BlockPool::AddHandle(int32_t block_index) {
  if (cached_[block_index] != 0 && handles_[block_index] == 1) --num_idle_;
  ++handles_[block_index];
}

void BlockPool::DropHandle(int32_t block_index) {
  const int32_t left = --handles_[block_index];
  if (left == 1 && cached_[block_index] != 0) ++num_idle_;
  if (left == 0) {
    CHECK(cached_[block_index] == 0);
    free_.push_back(block_index);
  }
}

}  // namespace conclave::engine
