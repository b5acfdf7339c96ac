// Whatever Parse accepts can be walked, printed and parsed again to the same text.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/json.h"

namespace {

using conclave::base::JsonDocument;
using conclave::base::JsonValue;

void Walk(JsonValue value) {
  (void)value.AsInt();
  (void)value.AsNumber(-1, 1);
  (void)value.AsString();
  (void)value.path();
  if (value.is_array()) {
    for (size_t i = 0; i < value.size() && i < 16; ++i) Walk(value.At(i));
  }
  value.ForEachMember([](std::string_view, JsonValue member) { Walk(member); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto document =
      JsonDocument::Parse({reinterpret_cast<const char*>(data), size}, {.values_max = 20'000});
  if (!document.ok()) return 0;
  Walk(document->root());
  const std::string text = document->root().ToJson();
  const auto again = JsonDocument::Parse(text);
  if (!again.ok() || again->root().ToJson() != text) std::abort();
  return 0;
}
