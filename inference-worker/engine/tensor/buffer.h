// Owned memory for weights, activations and KV: 64-byte aligned (one cache line, one AVX-512
// register), zeroed, with huge pages asked for where it is large. It lies in the machine's memory
// or in a device's (memory.h); only who knows which may look inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/status.h"

namespace conclave::engine {

class Memory;

class Buffer final {
 public:
  Buffer() = default;
  // RESOURCE_EXHAUSTED when the system has not that much; 0 bytes give an empty buffer.
  static absl::StatusOr<Buffer> Allocate(int64_t bytes);
  // A piece of a device's memory, given back to it at the end.
  Buffer(std::byte* data, int64_t size, std::shared_ptr<Memory> owner)
      : data_(data), size_(size), owner_(std::move(owner)) {}

  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
  std::shared_ptr<Memory> owner_;  // none: mapped from the system
};

}  // namespace conclave::engine
