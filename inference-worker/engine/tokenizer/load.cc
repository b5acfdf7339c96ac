#include "engine/tokenizer/load.h"

#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/spm.h"
#include "engine/tokenizer/unigram.h"
#include "engine/tokenizer/wordpiece.h"
#include "engine/weights/source.h"

namespace conclave::engine {
namespace {

constexpr char kTokenizerJsonKey[] = "tokenizer.huggingface.json";
constexpr int64_t kIdMax = std::numeric_limits<int32_t>::max();

// tokenizer.ggml.<name>_token_id, or `fallback` when the file does not say.
absl::StatusOr<TokenId> ReadId(const ModelSource& source, std::string_view name, TokenId fallback) {
  const std::string key = absl::StrCat("tokenizer.ggml.", std::string(name), "_token_id");
  if (!source.Has(key)) return fallback;
  ASSIGN_OR_RETURN(const int64_t id, source.GetInt(key, 0, kIdMax));
  // Some files say "none" with the largest number.
  return id == kIdMax ? TokenId{-1} : static_cast<TokenId>(id);
}

absl::Status ReadTokens(const ModelSource& source, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const std::vector<std::string_view> tokens,
                   source.GetStrings("tokenizer.ggml.tokens"));
  spec->tokens.assign(tokens.begin(), tokens.end());
  ASSIGN_OR_RETURN(const auto types, source.GetOptionalInts("tokenizer.ggml.token_type"));
  if (types.has_value()) {
    for (const int64_t type : *types) {
      spec->types.push_back(static_cast<int32_t>(type));
    }
  }
  if (source.Has("tokenizer.ggml.scores")) {
    ASSIGN_OR_RETURN(spec->scores, source.GetFloats("tokenizer.ggml.scores"));
  }
  if (source.Has("tokenizer.ggml.merges")) {
    ASSIGN_OR_RETURN(const std::vector<std::string_view> merges,
                     source.GetStrings("tokenizer.ggml.merges"));
    spec->merges.assign(merges.begin(), merges.end());
  }
  return absl::OkStatus();
}

// What a file of this model means when it does not say; the values its first files relied on.
struct Defaults {
  TokenId bos = -1, eos = -1, unknown = -1;
  bool add_bos = false, add_eos = false, add_space_prefix = false;
};

absl::StatusOr<Defaults> DefaultsOf(const TokenizerSpec& spec) {
  if (spec.model == "llama") {
    return Defaults{.bos = 1, .eos = 2, .unknown = 0, .add_bos = true, .add_space_prefix = true};
  }
  if (spec.model == "bert") {
    return Defaults{.bos = 101, .eos = 102, .unknown = 100, .add_bos = true, .add_eos = true};
  }
  if (spec.model == "t5") {
    return Defaults{.eos = 1, .unknown = 2, .add_eos = true, .add_space_prefix = true};
  }
  if (spec.model == "gpt2") {
    ASSIGN_OR_RETURN(const CutFamily* family, FindCutFamily(spec.pre));
    return Defaults{.add_bos = family->adds_bos};
  }
  return base::Unimplemented(
      absl::StrCat("tokenizer.ggml.model: unknown tokenizer \"", spec.model.substr(0, 64), "\""));
}

absl::Status ReadSpecialIds(const ModelSource& source, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const Defaults defaults, DefaultsOf(*spec));
  const bool bert = spec->model == "bert";
  ASSIGN_OR_RETURN(spec->bos, ReadId(source, bert ? "cls" : "bos", defaults.bos));
  ASSIGN_OR_RETURN(spec->eos, ReadId(source, "eos", defaults.eos));
  if (bert) {  // the first files misspelt the key, and the spelling stayed
    ASSIGN_OR_RETURN(spec->eos, ReadId(source, "seperator", defaults.eos));
    ASSIGN_OR_RETURN(spec->eos, ReadId(source, "separator", spec->eos));
  }
  ASSIGN_OR_RETURN(spec->unknown, ReadId(source, "unknown", defaults.unknown));
  for (const std::string_view name : {"eot", "eom"}) {
    ASSIGN_OR_RETURN(const TokenId id, ReadId(source, name, -1));
    if (id >= 0) spec->end_of_generation.push_back(id);
  }
  ASSIGN_OR_RETURN(spec->add_bos, source.GetBool("tokenizer.ggml.add_bos_token", defaults.add_bos));
  ASSIGN_OR_RETURN(spec->add_eos, source.GetBool("tokenizer.ggml.add_eos_token", defaults.add_eos));
  ASSIGN_OR_RETURN(spec->add_space_prefix,
                   source.GetBool("tokenizer.ggml.add_space_prefix", defaults.add_space_prefix));
  return absl::OkStatus();
}

// One row per tokenizer.ggml.model.
struct Kind {
  std::string_view model;
  absl::StatusOr<std::unique_ptr<Tokenizer>> (*make)(TokenizerSpec spec);
};
constexpr Kind kKinds[] = {
    {"gpt2", MakeBpeTokenizer},
    {"llama", MakeSpmTokenizer},
    {"bert", MakeWordPieceTokenizer},
    {"t5", MakeUnigramTokenizer},
};

absl::Status ReadWordPiece(const ModelSource& source, TokenizerSpec* spec) {
  spec->word_prefix = "▁";
  ASSIGN_OR_RETURN(spec->lower_case, source.GetBool("tokenizer.ggml.normalizer.lowercase", true));
  const char* const strip = "tokenizer.ggml.normalizer.strip_accents";
  if (source.Has(strip)) {
    ASSIGN_OR_RETURN(spec->strip_accents, source.GetBool(strip));
  }
  return absl::OkStatus();
}

absl::Status ReadSentencePiece(const ModelSource& source, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(spec->remove_extra_whitespaces,
                   source.GetBool("tokenizer.ggml.remove_extra_whitespaces", false));
  ASSIGN_OR_RETURN(const auto map, source.GetOptionalInts("tokenizer.ggml.precompiled_charsmap"));
  if (!map.has_value()) return absl::OkStatus();
  spec->charsmap.reserve(map->size());
  for (const int64_t byte : *map) spec->charsmap.push_back(static_cast<char>(byte));
  return absl::OkStatus();
}

// A tokenizer.json kept whole, as an HF folder gives it, with what the files beside it say.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadFromJson(const ModelSource& source) {
  ASSIGN_OR_RETURN(const std::string_view json, source.GetString(kTokenizerJsonKey));
  SpecialTokenIds special;
  ASSIGN_OR_RETURN(special.bos, ReadId(source, "bos", -1));
  ASSIGN_OR_RETURN(special.eos, ReadId(source, "eos", -1));
  ASSIGN_OR_RETURN(special.bos_text, source.GetString("tokenizer.huggingface.bos_token", ""));
  ASSIGN_OR_RETURN(special.eos_text, source.GetString("tokenizer.huggingface.eos_token", ""));
  for (const std::string_view name : {"eot", "eom"}) {
    ASSIGN_OR_RETURN(const TokenId id, ReadId(source, name, -1));
    if (id >= 0) special.end_of_generation.push_back(id);
  }
  ASSIGN_OR_RETURN(const auto more, source.GetOptionalInts("tokenizer.ggml.eog_token_ids"));
  for (const int64_t id : more.value_or(std::vector<int64_t>())) {
    if (id < 0 || id > kIdMax) {
      return base::InvalidArgument("tokenizer.ggml.eog_token_ids: not the id of a token");
    }
    special.end_of_generation.push_back(static_cast<TokenId>(id));
  }
  const auto read_flag = [&](const char* key, std::optional<bool>* flag) -> absl::Status {
    if (!source.Has(key)) return absl::OkStatus();
    ASSIGN_OR_RETURN(*flag, source.GetBool(key));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(read_flag("tokenizer.ggml.add_bos_token", &special.add_bos));
  RETURN_IF_ERROR(read_flag("tokenizer.ggml.add_eos_token", &special.add_eos));
  return LoadTokenizerJson(json, special);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(TokenizerSpec spec) {
  for (const Kind& kind : kKinds) {
    if (kind.model == spec.model) return kind.make(std::move(spec));
  }
  return base::Unimplemented(
      absl::StrCat("tokenizer.ggml.model: unknown tokenizer \"", spec.model.substr(0, 64), "\""));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const ModelSource& source) {
  if (source.Has(kTokenizerJsonKey) && !source.Has("tokenizer.ggml.tokens")) {
    return LoadFromJson(source);
  }
  TokenizerSpec spec;
  ASSIGN_OR_RETURN(const std::string_view model, source.GetString("tokenizer.ggml.model"));
  ASSIGN_OR_RETURN(const std::string_view pre, source.GetString("tokenizer.ggml.pre", ""));
  spec.model = model;
  spec.pre = pre;
  if (spec.model == "bert") RETURN_IF_ERROR(ReadWordPiece(source, &spec));
  if (spec.model == "t5") RETURN_IF_ERROR(ReadSentencePiece(source, &spec));
  RETURN_IF_ERROR(ReadTokens(source, &spec));
  RETURN_IF_ERROR(ReadSpecialIds(source, &spec));
  return MakeTokenizer(std::move(spec));
}

}  // namespace conclave::engine
