#include "engine/kv/block.h"

#include <utility>

#include "engine/kv/block_pool.h"

namespace conclave::engine {

Block::Block(const Block& other) : pool_(other.pool_), index_(other.index_) {
  if (pool_ != nullptr) pool_->AddHandle(index_);
}

Block::Block(Block&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), index_(std::exchange(other.index_, -1)) {}

Block& Block::operator=(const Block& other) {
  Block copy(other);
  std::swap(pool_, copy.pool_);
  std::swap(index_, copy.index_);
  return *this;
}

Block& Block::operator=(Block&& other) noexcept {
  Block taken(std::move(other));
  std::swap(pool_, taken.pool_);
  std::swap(index_, taken.index_);
  return *this;
}

Block::~Block() {
  if (pool_ != nullptr) pool_->DropHandle(index_);
}

int32_t Block::num_handles() const { return pool_ == nullptr ? 0 : pool_->num_handles(index_); }

}  // namespace conclave::engine
