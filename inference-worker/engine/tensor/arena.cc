#include "engine/tensor/arena.h"

#include <utility>

#include "base/check.h"

namespace conclave::engine {

absl::Status Arena::Reserve(int64_t bytes) {
  used_ = 0;
  if (bytes <= buffer_.size()) return absl::OkStatus();
  buffer_ = Buffer();  // the old one goes first: the two need not coexist
  ASSIGN_OR_RETURN(buffer_, memory_->Allocate(bytes));
  return absl::OkStatus();
}

std::byte* Arena::TakeBytes(int64_t bytes) {
  const int64_t rounded = (bytes + 63) / 64 * 64;
  CHECK(bytes >= 0 && rounded <= buffer_.size() - used_);
  std::byte* piece = buffer_.data() + used_;
  used_ += rounded;
  return piece;
}

}  // namespace conclave::engine
