// Any bytes as a tokenizer.json, and a text through the tokenizer it makes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "engine/tokenizer/load.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave::engine;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = LoadTokenizerJson(json);
  if (!tokenizer.ok()) return 0;
  const std::string_view text =
      "Some te\xCC\x81xt, 12345  \n<s> don't\xFF \xE6\x97\xA5\xE6\x9C\xAC [MASK]";
  for (const bool special : {false, true}) {
    const auto ids = (*tokenizer)->Encode(text, {.parse_special = special, .add_special = special});
    for (const TokenId id : ids) CHECK(id >= 0 && id < (*tokenizer)->vocab_size());
    (*tokenizer)->Decode(ids, special);
  }
  return 0;
}
