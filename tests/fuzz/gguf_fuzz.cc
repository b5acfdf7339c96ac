// Any bytes as a GGUF file, and as the shards of one: read or refused, and what was read can be
// used.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "engine/weights/gguf.h"

namespace conclave::engine {
namespace {

// Reads the ends of every tensor and every metadata entry in every way.
uint64_t Use(const ModelSource& source) {
  uint64_t sum = 0;
  for (const TensorEntry& tensor : source.tensors()) {
    const int64_t bytes = tensor.view.bytes();
    CHECK(bytes > 0);
    sum += static_cast<uint64_t>(tensor.view.data[0]) +
           static_cast<uint64_t>(tensor.view.data[bytes - 1]);
  }
  for (const MetadataEntry& entry : source.metadata()) {
    CHECK(!entry.raw.empty());
    (void)source.GetInt(entry.key, 0, 100);
    (void)source.GetFloat(entry.key, 0, 1);
    (void)source.GetStrings(entry.key);
    (void)source.GetInts(entry.key);
    (void)source.GetFloats(entry.key);
  }
  return sum;
}

// Cut where a file begins: at every "GGUF".
std::vector<GgufBytes> Shards(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<GgufBytes> shards;
  for (size_t begin = 0; begin < bytes.size() && shards.size() < 8;) {
    const size_t end = std::min(text.find("GGUF", begin + 1), bytes.size());
    shards.push_back({bytes.subspan(begin, end - begin), "shard"});
    begin = end;
  }
  return shards;
}

}  // namespace
}  // namespace conclave::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave::engine;
  const auto bytes = std::as_bytes(std::span(data, size));
  uint64_t sum = 0;
  if (const auto source = OpenGgufBytes(bytes, "fuzz"); source.ok()) sum += Use(**source);
  const std::vector<GgufBytes> shards = Shards(bytes);
  if (shards.size() > 1) {
    if (const auto source = OpenGgufShards(shards); source.ok()) sum += Use(**source);
  }
  return sum == UINT64_MAX ? 1 : 0;
}
