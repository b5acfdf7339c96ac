#include "embed/encoder_folder.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/hf_folder.h"
#include "engine/weights/safetensors.h"

namespace conclave::embed {
namespace {

namespace fs = std::filesystem;
using base::JsonDocument;
using base::JsonValue;

constexpr uintmax_t kConfigBytesMax = 4 << 20;
constexpr uintmax_t kVocabularyBytesMax = 128 << 20;

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

// The vocabulary of a folder without tokenizer.json.
absl::StatusOr<std::unique_ptr<engine::Tokenizer>> ReadVocabTxt(const fs::path& folder) {
  bool lower_case = true;
  if (Exists(folder / "tokenizer_config.json")) {
    ASSIGN_OR_RETURN(const JsonDocument config, ReadJson(folder / "tokenizer_config.json"));
    ASSIGN_OR_RETURN(const auto given, config.root().Get("do_lower_case").OptionalBool());
    lower_case = given.value_or(true);
  }
  ASSIGN_OR_RETURN(const std::string text, ReadText(folder / "vocab.txt", kVocabularyBytesMax));
  auto tokenizer = engine::LoadVocabTxt(text, lower_case);
  if (!tokenizer.ok()) return base::Annotate(tokenizer.status(), (folder / "vocab.txt").string());
  return tokenizer;
}

absl::Status OpenWithVocabTxt(const fs::path& folder, EncoderFile* file) {
  ASSIGN_OR_RETURN(const JsonDocument config, ReadJson(folder / "config.json"));
  ASSIGN_OR_RETURN(file->tokenizer, ReadVocabTxt(folder));
  ASSIGN_OR_RETURN(auto tensors, engine::OpenSafetensors(folder.string()));
  ASSIGN_OR_RETURN(file->source, engine::MapHfCheckpoint({.name = folder.string(),
                                                          .config = config.root(),
                                                          .tensors = std::move(tensors)}));
  ASSIGN_OR_RETURN(const auto type, engine::ReadHfPooling(folder.string()));
  if (type.has_value()) file->pooling = PoolingOfType(*type);
  return absl::OkStatus();
}

absl::Status OpenWithTokenizerJson(const fs::path& folder, EncoderFile* file) {
  ASSIGN_OR_RETURN(file->source, engine::OpenHfFolder(folder.string()));
  auto tokenizer = engine::LoadTokenizer(*file->source);
  if (!tokenizer.ok()) return base::Annotate(tokenizer.status(), folder.string());
  file->tokenizer = *std::move(tokenizer);
  return absl::OkStatus();
}

absl::StatusOr<int32_t> ReadTokensMax(const fs::path& path) {
  if (!Exists(path)) return 0;
  ASSIGN_OR_RETURN(const JsonDocument doc, ReadJson(path));
  auto length = doc.root().Get("max_seq_length").OptionalInt(3, 1 << 20);
  if (!length.ok()) return base::Annotate(length.status(), path.string());
  return static_cast<int32_t>(length->value_or(0));
}

}  // namespace

absl::StatusOr<EncoderFile> OpenEncoderFolder(const std::string& path) {
  const fs::path folder(path);
  EncoderFile file{.format = "safetensors"};
  RETURN_IF_ERROR(Exists(folder / "tokenizer.json") ? OpenWithTokenizerJson(folder, &file)
                                                    : OpenWithVocabTxt(folder, &file));
  ASSIGN_OR_RETURN(file.tokens_max, ReadTokensMax(folder / "sentence_bert_config.json"));
  return file;
}

}  // namespace conclave::embed
