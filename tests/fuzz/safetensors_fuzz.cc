// Any bytes as a safetensors file: read or refused, and what was read can be used.
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave::engine;
  const auto source = OpenSafetensorsBytes(std::as_bytes(std::span(data, size)), "fuzz");
  if (!source.ok()) return 0;
  uint64_t sum = 0;
  for (const TensorEntry& tensor : (*source)->tensors()) {
    const int64_t bytes = tensor.view.bytes();
    if (bytes == 0) continue;
    sum += static_cast<uint64_t>(tensor.view.data[0]) +
           static_cast<uint64_t>(tensor.view.data[bytes - 1]);
  }
  return sum == UINT64_MAX ? 1 : 0;
}
