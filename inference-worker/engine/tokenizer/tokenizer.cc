#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine {

std::vector<TokenId> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  const TextRange whole{0, text.size()};
  return EncodeTrusted(text, {&whole, options.parse_special ? size_t{1} : size_t{0}},
                       options.add_special);
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool render_special) const {
  std::string text;
  bool at_start = adds_space_prefix();
  for (const TokenId id : ids) {
    if (id < 0 || id >= vocab_size()) continue;
    const std::string bytes = TokenBytes(id, render_special);
    const bool drop_space = at_start && !IsControl(id) && bytes.starts_with(' ');
    text.append(bytes, drop_space ? 1 : 0);
    if (!IsControl(id)) at_start = false;
  }
  return text;
}

}  // namespace conclave::engine
