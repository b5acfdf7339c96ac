// Where bytes live: the machine's own memory or a device's. What a forward pass works on — weights,
// activations, keys and values — is allocated from the memory of the kernels that will read it, so
// that nobody else need know which kind it is.
//
//   ASSIGN_OR_RETURN(Buffer norm, kernels.memory().Allocate(n * 4));
//   RETURN_IF_ERROR(kernels.memory().Upload(values, n * 4, norm.data()));
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/status.h"
#include "engine/tensor/buffer.h"

namespace conclave::engine {

// Owned by one caller at a time, as the kernels it belongs to. A buffer keeps its memory alive.
class Memory : public std::enable_shared_from_this<Memory> {
 public:
  virtual ~Memory() = default;

  // 64-byte aligned and zeroed. RESOURCE_EXHAUSTED names the bytes wanted and those free.
  virtual absl::StatusOr<Buffer> Allocate(int64_t bytes) = 0;
  // Copies from the host into a buffer of this memory; done when it returns. For loading.
  virtual absl::Status Upload(const void* host, int64_t bytes, void* target) = 0;
  // Bytes still free; nothing for the host's memory, where the system is asked (placement/plan.h).
  virtual std::optional<int64_t> available_bytes() const = 0;

 protected:
  friend class Buffer;
  virtual void Free(std::byte* data, int64_t bytes) = 0;
};

// The machine's own.
Memory& HostMemory();

}  // namespace conclave::engine
