// Every family of encoders, and what their folders have in common.
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "embed/encoder.h"
#include "engine/tokenizer/load.h"

namespace conclave::embed {
namespace {

namespace fs = std::filesystem;
using base::JsonDocument;
using base::JsonValue;

constexpr std::array<EncoderKind, 1> kAll = {{
    {"bert", OpenBert},
}};

constexpr uintmax_t kConfigBytesMax = 4 << 20;
constexpr uintmax_t kTokenizerBytesMax = 128 << 20;

absl::StatusOr<std::string> ReadText(const fs::path& path, uintmax_t bytes_max) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    return base::NotFound(absl::StrCat(path.string(), ": no such file"));
  }
  if (fs::file_size(path, error) > bytes_max || error) {
    return base::InvalidArgument(
        absl::StrCat(path.string(), ": larger than ", bytes_max, " bytes"));
  }
  std::ifstream file(path, std::ios::binary);
  return std::string{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

absl::StatusOr<JsonDocument> ReadJson(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(path, kConfigBytesMax));
  auto doc = JsonDocument::Parse(text);
  if (!doc.ok()) return base::Annotate(doc.status(), path.string());
  return doc;
}

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

absl::StatusOr<std::unique_ptr<engine::Tokenizer>> ReadTokenizer(const fs::path& folder) {
  const fs::path json = folder / "tokenizer.json";
  if (Exists(json)) {
    ASSIGN_OR_RETURN(const std::string text, ReadText(json, kTokenizerBytesMax));
    auto tokenizer = engine::LoadTokenizerJson(text);
    if (!tokenizer.ok()) return base::Annotate(tokenizer.status(), json.string());
    return tokenizer;
  }
  bool lower_case = true;
  if (Exists(folder / "tokenizer_config.json")) {
    ASSIGN_OR_RETURN(const JsonDocument config, ReadJson(folder / "tokenizer_config.json"));
    ASSIGN_OR_RETURN(const auto given, config.root().Get("do_lower_case").OptionalBool());
    lower_case = given.value_or(true);
  }
  ASSIGN_OR_RETURN(const std::string text, ReadText(folder / "vocab.txt", kTokenizerBytesMax));
  auto tokenizer = engine::LoadVocabTxt(text, lower_case);
  if (!tokenizer.ok()) return base::Annotate(tokenizer.status(), (folder / "vocab.txt").string());
  return tokenizer;
}

absl::StatusOr<Pooling> ReadPooling(const fs::path& path) {
  if (!Exists(path)) return Pooling::kMean;
  ASSIGN_OR_RETURN(const JsonDocument doc, ReadJson(path));
  const auto on = [&](const char* key) {
    const auto value = doc.root().Get(key).OptionalBool();
    return value.ok() && value->value_or(false);
  };
  if (on("pooling_mode_mean_tokens")) return Pooling::kMean;
  if (on("pooling_mode_cls_token")) return Pooling::kCls;
  if (on("pooling_mode_lasttoken")) return Pooling::kLast;
  return base::Unimplemented(absl::StrCat(path.string(), ": neither mean, cls nor last pooling"));
}

// Whether the list of modules ends in a normalisation.
absl::StatusOr<bool> ReadNormalize(const fs::path& path) {
  if (!Exists(path)) return false;
  ASSIGN_OR_RETURN(const JsonDocument doc, ReadJson(path));
  bool normalize = false;
  for (size_t i = 0; i < doc.root().size(); ++i) {
    ASSIGN_OR_RETURN(const std::string type, doc.root().At(i).Get("type").AsString());
    if (type.ends_with(".Normalize")) normalize = true;
    if (type.ends_with(".Dense")) {
      return base::Unimplemented(absl::StrCat(path.string(), ": a dense layer after the pooling"));
    }
  }
  return normalize;
}

absl::StatusOr<int32_t> ReadTokensMax(const fs::path& path) {
  if (!Exists(path)) return 0;
  ASSIGN_OR_RETURN(const JsonDocument doc, ReadJson(path));
  auto length = doc.root().Get("max_seq_length").OptionalInt(3, 1 << 20);
  if (!length.ok()) return base::Annotate(length.status(), path.string());
  return static_cast<int32_t>(length->value_or(0));
}

}  // namespace

std::span<const EncoderKind> AllEncoders() { return kAll; }

absl::StatusOr<std::unique_ptr<Encoder>> OpenEncoder(const std::string& path,
                                                     const EncoderOptions& options) {
  const fs::path folder(path);
  ASSIGN_OR_RETURN(JsonDocument config, ReadJson(folder / "config.json"));
  auto type = config.root().Get("model_type").AsString();
  if (!type.ok()) return base::Annotate(type.status(), (folder / "config.json").string());
  for (const EncoderKind& kind : kAll) {
    if (kind.model_type != *type) continue;
    ASSIGN_OR_RETURN(auto tokenizer, ReadTokenizer(folder));
    ASSIGN_OR_RETURN(const Pooling pooling, ReadPooling(folder / "1_Pooling" / "config.json"));
    ASSIGN_OR_RETURN(const bool normalize, ReadNormalize(folder / "modules.json"));
    ASSIGN_OR_RETURN(const int32_t tokens_max, ReadTokensMax(folder / "sentence_bert_config.json"));
    return kind.open({.path = path,
                      .config = std::move(config),
                      .tokenizer = std::move(tokenizer),
                      .pooling = pooling,
                      .normalize = normalize,
                      .tokens_max = tokens_max},
                     options);
  }
  return base::Unimplemented(absl::StrCat(path, ": model_type \"", *type, "\" is not supported"));
}

}  // namespace conclave::embed
