#include "engine/tensor/memory.h"

#include <cstring>

namespace conclave::engine {
namespace {

class Host final : public Memory {
 public:
  absl::StatusOr<Buffer> Allocate(int64_t bytes) override { return Buffer::Allocate(bytes); }
  absl::Status Upload(const void* host, int64_t bytes, void* target) override {
    std::memcpy(target, host, static_cast<size_t>(bytes));
    return absl::OkStatus();
  }
  std::optional<int64_t> available_bytes() const override { return std::nullopt; }

 protected:
  void Free(std::byte*, int64_t) override {}  // host buffers unmap themselves
};

}  // namespace

Memory& HostMemory() {
  static Host host;
  return host;
}

}  // namespace conclave::engine
