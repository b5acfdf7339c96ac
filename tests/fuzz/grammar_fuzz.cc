// Any bytes as a constraint of an output: the first says in which language. Compiled or refused,
// soon and within bounds; what is compiled can be finished.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "engine/grammar/compile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave::engine::grammar;
  if (size == 0) return 0;
  constexpr Language kLanguages[] = {Language::kJsonSchema, Language::kGbnf, Language::kRegex};
  const std::string_view definition(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto compiled = Compile(kLanguages[data[0] % 3], definition);
  CHECK(compiled.ok() || !compiled.status().message().empty());
  return 0;
}
