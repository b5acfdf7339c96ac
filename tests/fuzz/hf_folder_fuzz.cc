// A config.json, a NUL byte and a safetensors file, both of any content, as the folder of a Hugging
// Face model: mapped or refused, and what was mapped can be made and given back.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/weights/hf_folder.h"
#include "engine/weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave;
  const auto bytes = std::span(data, size);
  const auto end = static_cast<size_t>(std::find(data, data + size, 0) - data);
  if (end == size) return 0;
  const auto config =
      base::JsonDocument::Parse(std::string_view(reinterpret_cast<const char*>(data), end));
  if (!config.ok()) return 0;
  const auto tensors = engine::OpenSafetensorsBytes(std::as_bytes(bytes.subspan(end + 1)), "fuzz");
  if (!tensors.ok()) return 0;
  const auto source =
      engine::MapHfCheckpoint({.name = "fuzz", .config = config->root(), .tensors = *tensors});
  if (!source.ok()) return 0;
  uint64_t sum = 0;
  for (const engine::TensorEntry& tensor : (*source)->tensors()) {
    (*source)->Prepare(tensor);
    const int64_t count = tensor.view.bytes();
    for (int64_t i = 0; i < count; ++i) sum += static_cast<uint64_t>(tensor.view.data[i]);
    (*source)->DoneWith(tensor.view);
  }
  return sum == UINT64_MAX ? 1 : 0;
}
