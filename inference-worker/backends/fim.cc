#include "backends/fim.h"

namespace conclave::backends {
namespace {

using engine::TokenId;

struct MarkNames {
  const char* prefix;
  const char* suffix;
  const char* middle;
  const char* repository = nullptr;
  const char* file = nullptr;
};
// As the model cards of each family write them.
constexpr MarkNames kFamilies[] = {
    // Qwen2.5-Coder and Qwen3-Coder; CodeGemma without a mark for repositories.
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>"},
    // StarCoder2; StarCoder and Granite without a mark for files.
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<repo_name>", "<file_sep>"},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},           // SantaCoder
    {"\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"},              // Code Llama
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},  // GLM-4
    // DeepSeek: begin, hole, end.
    {"<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"},
};

// The names of what nobody tells and the models want one for; llama-server's, so that its answers
// and ours are the same.
constexpr std::string_view kRepository = "myproject\n";
constexpr std::string_view kOwnFile = "filename\n";
constexpr std::string_view kSnippet = "\n\n--- snippet ---\n\n";

TokenId Named(const engine::Tokenizer& tokenizer, const char* name) {
  return name == nullptr ? -1 : tokenizer.Find(name);
}

TokenId IdOf(const engine::ModelSource& source, const char* key, int32_t vocab_size) {
  const auto id = source.GetInt(key, -1, vocab_size - 1, -1);
  return id.ok() ? static_cast<TokenId>(*id) : -1;
}

}  // namespace

FimTokens FindFimTokens(const engine::ModelSource& source, const engine::Tokenizer& tokenizer) {
  const int32_t size = tokenizer.vocab_size();
  const FimTokens told{.prefix = IdOf(source, "tokenizer.ggml.fim_pre_token_id", size),
                       .suffix = IdOf(source, "tokenizer.ggml.fim_suf_token_id", size),
                       .middle = IdOf(source, "tokenizer.ggml.fim_mid_token_id", size),
                       .repository = IdOf(source, "tokenizer.ggml.fim_rep_token_id", size),
                       .file = IdOf(source, "tokenizer.ggml.fim_sep_token_id", size)};
  if (told.complete()) return told;
  for (const MarkNames& names : kFamilies) {
    const FimTokens found{.prefix = tokenizer.Find(names.prefix),
                          .suffix = tokenizer.Find(names.suffix),
                          .middle = tokenizer.Find(names.middle),
                          .repository = Named(tokenizer, names.repository),
                          .file = Named(tokenizer, names.file)};
    if (found.complete()) return found;
  }
  return {};
}

std::vector<TokenId> EncodeFim(const engine::Tokenizer& tokenizer, const FimTokens& marks,
                               std::string_view before, const Infill& infill) {
  std::vector<TokenId> ids;
  const auto append = [&](std::string_view text) {
    const auto more = tokenizer.Encode(text, {.parse_special = false, .add_special = false});
    ids.insert(ids.end(), more.begin(), more.end());
  };
  const auto begin_file = [&](const std::string& line) {
    ids.push_back(marks.file);
    append(line);
  };
  if (tokenizer.adds_bos() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
  if (!infill.files.empty() && marks.file >= 0 && marks.repository >= 0) {
    ids.push_back(marks.repository);
    append(kRepository);
  }
  for (const InfillFile& file : infill.files) {
    if (marks.file >= 0) {
      begin_file(file.name + "\n");
    } else {
      append(kSnippet);
    }
    append(file.text);
  }
  if (!infill.files.empty() && marks.file >= 0) begin_file(std::string(kOwnFile));
  ids.push_back(marks.prefix);
  append(before);
  ids.push_back(marks.suffix);
  append(infill.suffix);
  ids.push_back(marks.middle);
  return ids;
}

std::vector<TokenId> EndsOfGap(const engine::Tokenizer& tokenizer, const FimTokens& marks) {
  std::vector<TokenId> ends;
  for (const TokenId id : {marks.repository, marks.file, tokenizer.Find("<|fim_pad|>"),
                           tokenizer.Find("<fim_pad>"), tokenizer.Find("<fim-pad>")}) {
    if (id >= 0) ends.push_back(id);
  }
  return ends;
}

}  // namespace conclave::backends
