#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine {

std::vector<TokenId> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  const TextRange whole{0, text.size()};
  return EncodeTrusted(text, {&whole, options.parse_special ? size_t{1} : size_t{0}},
                       options.add_special);
}

std::string Tokenizer::FirstTokenBytes(TokenId id, bool render_special) const {
  std::string bytes = TokenBytes(id, render_special);
  if (adds_space_prefix() && !IsControl(id) && bytes.starts_with(' ')) bytes.erase(0, 1);
  return bytes;
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool render_special) const {
  std::string text;
  bool at_start = true;
  for (const TokenId id : ids) {
    if (id < 0 || id >= vocab_size()) continue;
    text += at_start ? FirstTokenBytes(id, render_special) : TokenBytes(id, render_special);
    if (!IsControl(id)) at_start = false;
  }
  return text;
}

}  // namespace conclave::engine
