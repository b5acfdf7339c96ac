#include "embed/encoder_folder.h"

#include <algorithm>
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

// The text of tokenizer.json, or nothing where vocab.txt has to do.
absl::StatusOr<std::string> ReadTokenizerJson(const fs::path& folder) {
  if (!Exists(folder / "tokenizer.json")) return std::string();
  return ReadText(folder / "tokenizer.json", kTokenizerBytesMax);
}

absl::StatusOr<std::unique_ptr<engine::Tokenizer>> MakeTokenizer(const fs::path& folder,
                                                                 const std::string& json) {
  if (!json.empty()) {
    auto tokenizer = engine::LoadTokenizerJson(json);
    if (!tokenizer.ok()) {
      return base::Annotate(tokenizer.status(), (folder / "tokenizer.json").string());
    }
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

struct PoolingName {
  std::string_view word;         // as newer files say it
  std::string_view switch_name;  // as older ones do, with a switch for each way
  Pooling pooling;
};
constexpr PoolingName kPoolings[] = {{"mean", "pooling_mode_mean_tokens", Pooling::kMean},
                                     {"cls", "pooling_mode_cls_token", Pooling::kCls},
                                     {"lasttoken", "pooling_mode_lasttoken", Pooling::kLast}};

// What the pooling module's configuration says.
absl::StatusOr<Pooling> ReadPoolingModule(const JsonValue& root) {
  ASSIGN_OR_RETURN(const auto word, root.Get("pooling_mode").OptionalString());
  if (word.has_value()) {
    for (const PoolingName& name : kPoolings) {
      if (*word == name.word) return name.pooling;
    }
    return base::Unimplemented(
        absl::StrCat("pooling_mode: \"", word->substr(0, 64), "\" is not supported"));
  }
  std::vector<std::string> on;
  root.ForEachMember([&](std::string_view key, const JsonValue& value) {
    const bool set = value.is_bool() && *value.AsBool();
    if (key.starts_with("pooling_mode_") && set) on.emplace_back(key);
  });
  for (const PoolingName& name : kPoolings) {
    if (on.size() == 1 && on[0] == name.switch_name) return name.pooling;
  }
  return base::Unimplemented("expected one of mean, cls and last pooling");
}

// A classifier over the sequence is a reranker; else what the pooling module says.
absl::StatusOr<std::optional<Pooling>> ReadPooling(const JsonValue& config, const fs::path& path) {
  if (const JsonValue names = config.Get("architectures"); names.is_array() && names.size() > 0) {
    ASSIGN_OR_RETURN(const std::string name, names.At(0).AsString());
    if (name.ends_with("ForSequenceClassification")) return Pooling::kRank;
  }
  if (!Exists(path)) return std::nullopt;
  ASSIGN_OR_RETURN(const JsonDocument doc, ReadJson(path));
  auto pooling = ReadPoolingModule(doc.root());
  if (!pooling.ok()) return base::Annotate(pooling.status(), path.string());
  return *pooling;
}

// Whether a path that a file names stays in the file's folder.
bool LiesInside(const fs::path& path) {
  return path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end();
}

// What sentence-transformers' list of modules says.
struct Modules {
  std::string pooling_folder = "1_Pooling";
  bool normalize = false;
};

absl::StatusOr<Modules> ReadModules(const fs::path& path) {
  Modules modules;
  if (!Exists(path)) return modules;
  ASSIGN_OR_RETURN(const JsonDocument doc, ReadJson(path));
  for (size_t i = 0; i < doc.root().size(); ++i) {
    const JsonValue module = doc.root().At(i);
    ASSIGN_OR_RETURN(const std::string type, module.Get("type").AsString());
    if (type.ends_with(".Normalize")) modules.normalize = true;
    if (type.ends_with(".Pooling")) {
      ASSIGN_OR_RETURN(modules.pooling_folder, module.Get("path").AsString());
      if (!LiesInside(modules.pooling_folder)) {
        return base::InvalidArgument(
            absl::StrCat(path.string(), ": ", module.Get("path").path(), ": leaves the folder"));
      }
    }
    if (type.ends_with(".Dense")) {
      return base::Unimplemented(absl::StrCat(path.string(), ": a dense layer after the pooling"));
    }
  }
  return modules;
}

absl::StatusOr<int32_t> ReadTokensMax(const fs::path& path) {
  if (!Exists(path)) return 0;
  ASSIGN_OR_RETURN(const JsonDocument doc, ReadJson(path));
  auto length = doc.root().Get("max_seq_length").OptionalInt(3, 1 << 20);
  if (!length.ok()) return base::Annotate(length.status(), path.string());
  return static_cast<int32_t>(length->value_or(0));
}

// Source and tokenizer.
absl::Status OpenEncoderParts(const fs::path& folder, const JsonValue& config, EncoderFile* file) {
  ASSIGN_OR_RETURN(const std::string json, ReadTokenizerJson(folder));
  ASSIGN_OR_RETURN(file->tokenizer, MakeTokenizer(folder, json));
  ASSIGN_OR_RETURN(auto raw, engine::OpenSafetensors(folder.string()));
  auto source = NameEncoderTensors(config, json, std::move(raw));
  if (!source.ok()) return base::Annotate(source.status(), folder.string());
  file->source = *std::move(source);
  return absl::OkStatus();
}

absl::Status OpenDecoderParts(const fs::path& folder, EncoderFile* file) {
  ASSIGN_OR_RETURN(file->source, engine::OpenHfFolder(folder.string()));
  auto tokenizer = engine::LoadTokenizer(*file->source);
  if (!tokenizer.ok()) return base::Annotate(tokenizer.status(), folder.string());
  file->tokenizer = *std::move(tokenizer);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EncoderFile> OpenEncoderFolder(const std::string& path) {
  const fs::path folder(path);
  ASSIGN_OR_RETURN(const JsonDocument config, ReadJson(folder / "config.json"));
  const auto type = config.root().Get("model_type").AsString();
  if (!type.ok()) return base::Annotate(type.status(), (folder / "config.json").string());
  EncoderFile file{.format = "safetensors"};
  RETURN_IF_ERROR(IsEncoderType(*type) ? OpenEncoderParts(folder, config.root(), &file)
                                       : OpenDecoderParts(folder, &file));
  ASSIGN_OR_RETURN(const Modules modules, ReadModules(folder / "modules.json"));
  file.normalize = modules.normalize;
  ASSIGN_OR_RETURN(file.pooling,
                   ReadPooling(config.root(), folder / modules.pooling_folder / "config.json"));
  ASSIGN_OR_RETURN(file.tokens_max, ReadTokensMax(folder / "sentence_bert_config.json"));
  return file;
}

}  // namespace conclave::embed
