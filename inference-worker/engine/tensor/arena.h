// Scratch of one step: pieces are handed out by bumping a pointer and all taken back at once.
// Grows only between steps (Reserve), so the hot path never allocates.
//
//   arena.Reset();
//   std::span<float> hidden = arena.Take<float>(rows * width);
#pragma once

#include <cstdint>
#include <span>

#include "engine/tensor/memory.h"

namespace conclave::engine {

// Not thread-safe. What Take gave is valid until Reset or Reserve.
class Arena final {
 public:
  // Pieces are of `memory`, which outlives the arena.
  explicit Arena(Memory& memory = HostMemory()) : memory_(&memory) {}

  // Makes room for `bytes` in all; earlier pieces are lost. RESOURCE_EXHAUSTED as Memory::Allocate.
  absl::Status Reserve(int64_t bytes);
  void Reset() { used_ = 0; }

  // `count` elements of T, 64-byte aligned, contents undefined. What was not reserved is our own
  // mistake and ends the process; Bytes below helps to count.
  template <typename T>
  std::span<T> Take(int64_t count) {
    return {reinterpret_cast<T*>(TakeBytes(count * static_cast<int64_t>(sizeof(T)))),
            static_cast<size_t>(count)};
  }
  // What Take<T>(count) uses up.
  template <typename T>
  static int64_t Bytes(int64_t count) {
    return (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
  }

  int64_t capacity() const { return buffer_.size(); }
  int64_t used() const { return used_; }

 private:
  std::byte* TakeBytes(int64_t bytes);

  Memory* memory_;
  Buffer buffer_;
  int64_t used_ = 0;
};

}  // namespace conclave::engine
