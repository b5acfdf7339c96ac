// Any bytes as a GGUF file: read or refused, and what was read can be used.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "engine/weights/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave::engine;
  const auto source = OpenGgufBytes(std::as_bytes(std::span(data, size)), "fuzz");
  if (!source.ok()) return 0;
  uint64_t sum = 0;
  for (const TensorEntry& tensor : (*source)->tensors()) {
    const int64_t bytes = tensor.view.bytes();
    CHECK(bytes > 0);
    sum += static_cast<uint64_t>(tensor.view.data[0]) +
           static_cast<uint64_t>(tensor.view.data[bytes - 1]);
  }
  for (const MetadataEntry& entry : (*source)->metadata()) {
    (void)(*source)->GetInt(entry.key, 0, 100);
    (void)(*source)->GetFloat(entry.key, 0, 1);
    (void)(*source)->GetStrings(entry.key);
    (void)(*source)->GetInts(entry.key);
    (void)(*source)->GetFloats(entry.key);
  }
  return sum == UINT64_MAX ? 1 : 0;
}
