#include "backends/fim.h"

namespace conclave::backends {
namespace {

using engine::TokenId;

struct MarkNames {
  const char* prefix;
  const char* suffix;
  const char* middle;
};
// As the model cards of each family write them.
constexpr MarkNames kFamilies[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},     // Qwen2.5-Coder, CodeGemma
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},           // StarCoder, Granite
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},           // SantaCoder
    {"\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"},              // Code Llama
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},  // GLM-4
    // DeepSeek: begin, hole, end.
    {"<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"},
};

TokenId IdOf(const engine::ModelSource& source, const char* key, int32_t vocab_size) {
  const auto id = source.GetInt(key, -1, vocab_size - 1, -1);
  return id.ok() ? static_cast<TokenId>(*id) : -1;
}

}  // namespace

FimTokens FindFimTokens(const engine::ModelSource& source, const engine::Tokenizer& tokenizer) {
  const int32_t size = tokenizer.vocab_size();
  const FimTokens told{.prefix = IdOf(source, "tokenizer.ggml.fim_pre_token_id", size),
                       .suffix = IdOf(source, "tokenizer.ggml.fim_suf_token_id", size),
                       .middle = IdOf(source, "tokenizer.ggml.fim_mid_token_id", size)};
  if (told.complete()) return told;
  for (const MarkNames& names : kFamilies) {
    const FimTokens found{.prefix = tokenizer.Find(names.prefix),
                          .suffix = tokenizer.Find(names.suffix),
                          .middle = tokenizer.Find(names.middle)};
    if (found.complete()) return found;
  }
  return {};
}

std::vector<TokenId> EncodeFim(const engine::Tokenizer& tokenizer, const FimTokens& marks,
                               std::string_view before, std::string_view after) {
  const auto append = [&tokenizer](std::string_view text, std::vector<TokenId>* ids) {
    const auto more = tokenizer.Encode(text, {.parse_special = false, .add_special = false});
    ids->insert(ids->end(), more.begin(), more.end());
  };
  std::vector<TokenId> ids;
  if (tokenizer.adds_bos() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
  ids.push_back(marks.prefix);
  append(before, &ids);
  ids.push_back(marks.suffix);
  append(after, &ids);
  ids.push_back(marks.middle);
  return ids;
}

}  // namespace conclave::backends
