// Owned memory for weights, activations and KV: 64-byte aligned (one cache line, one AVX-512
// register), zeroed, with huge pages asked for where it is large.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace conclave::engine {

class Buffer final {
 public:
  Buffer() = default;
  // RESOURCE_EXHAUSTED when the system has not that much; 0 bytes give an empty buffer.
  static absl::StatusOr<Buffer> Allocate(int64_t bytes);

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
};

}  // namespace conclave::engine
