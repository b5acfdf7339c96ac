#include "engine/tensor/buffer.h"

#include <sys/mman.h>

#include <string>
#include <utility>

#include "engine/tensor/memory.h"

namespace conclave::engine {
namespace {

// Below this a page table walk costs nothing worth asking for.
constexpr int64_t kHugePageFrom = int64_t{4} << 20;

}  // namespace

absl::StatusOr<Buffer> Buffer::Allocate(int64_t bytes) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  if (bytes < 0) return base::InvalidArgument("buffer: negative size");
  // Anonymous pages come zeroed and page-aligned, and are given back whole.
  void* memory = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return base::ResourceExhausted("buffer: no memory for " + std::to_string(bytes) + " bytes");
  }
  // Advice only: a kernel without huge pages says no and nothing changes.
  if (bytes >= kHugePageFrom) madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  buffer.data_ = static_cast<std::byte*>(memory);
  buffer.size_ = bytes;
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      owner_(std::move(other.owner_)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(owner_, other.owner_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (owner_ != nullptr) {
    owner_->Free(data_, size_);
  } else {
    munmap(data_, static_cast<size_t>(size_));
  }
}

}  // namespace conclave::engine
