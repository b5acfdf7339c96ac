// What the files of a Hugging Face folder say of text: its tokenizer, chat template, special tokens
// and how its authors sample.
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/strings.h"
#include "engine/weights/hf_folder.h"

namespace conclave::engine {
namespace {

using base::JsonDocument;
using base::JsonValue;

constexpr int64_t kTokenizerBytesMax = 256 << 20;
constexpr int64_t kConfigBytesMax = 16 << 20;
constexpr int64_t kTemplateBytesMax = 1 << 20;
constexpr size_t kTemplatesMax = 32;

bool Exists(const std::string& path) {
  struct stat facts = {};
  return stat(path.c_str(), &facts) == 0;
}

absl::StatusOr<std::string> ReadText(const std::string& path, int64_t bytes_max) {
  struct stat facts = {};
  if (stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
    return base::NotFound(path + ": not a file");
  }
  if (facts.st_size > bytes_max) {
    return base::InvalidArgument(path + ": larger than " + std::to_string(bytes_max) + " bytes");
  }
  std::ifstream file(path, std::ios::binary);
  return std::string{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

absl::Status At(const absl::Status& status, const std::string& path) {
  return status.ok() ? status : base::Annotate(status, path);
}

// A token that is given as its text or as an object with it.
absl::StatusOr<std::string> TokenText(const JsonValue& value) {
  if (value.missing()) return std::string();
  return value.is_object() ? value.Get("content").AsString() : value.AsString();
}

class Reader final {
 public:
  Reader(const std::string& folder, DirectorySource* metadata)
      : folder_(folder), metadata_(*metadata) {}

  // Whether there is a tokenizer.json.
  absl::StatusOr<bool> Tokenizer() {
    const std::string path = folder_ + "/tokenizer.json";
    if (!Exists(path)) {
      for (const char* other : {"/tokenizer.model", "/tiktoken.model", "/tekken.json",
                                "/spiece.model", "/vocab.json", "/vocab.txt"}) {
        if (Exists(folder_ + other)) {
          return base::Unimplemented(folder_ + other +
                                     ": a tokenizer needs its tokenizer.json beside it");
        }
      }
      metadata_.AddMetadata("tokenizer.ggml.model", std::string_view("no_vocab"));
      return false;
    }
    ASSIGN_OR_RETURN(std::string text, ReadText(path, kTokenizerBytesMax));
    metadata_.AddMetadata("tokenizer.ggml.model", std::string_view("huggingface"));
    metadata_.AddMetadata("tokenizer.huggingface.json", metadata_.Keep(std::move(text)));
    return true;
  }

  absl::Status TokenizerConfig() {
    const std::string path = folder_ + "/tokenizer_config.json";
    if (!Exists(path)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const JsonDocument document, Parse(path));
    const JsonValue root = document.root();
    RETURN_IF_ERROR(At(SpecialTokens(root), path));
    return At(ChatTemplates(root.Get("chat_template")), path);
  }

  // A file of its own comes before what tokenizer_config.json says.
  absl::Status TemplateFile() {
    const std::string path = folder_ + "/chat_template.jinja";
    if (!Exists(path)) return absl::OkStatus();
    ASSIGN_OR_RETURN(std::string text, ReadText(path, kTemplateBytesMax));
    metadata_.AddMetadata("tokenizer.chat_template", metadata_.Keep(std::move(text)));
    return absl::OkStatus();
  }

  absl::Status EndOfGeneration(const JsonValue& config) {
    std::set<int32_t> ids;
    RETURN_IF_ERROR(AddIds(config.Get("eos_token_id"), &ids));
    const std::string path = folder_ + "/generation_config.json";
    if (Exists(path)) {
      ASSIGN_OR_RETURN(const JsonDocument document, Parse(path));
      RETURN_IF_ERROR(At(AddIds(document.root().Get("eos_token_id"), &ids), path));
      RETURN_IF_ERROR(At(Sampling(document.root()), path));
    }
    if (ids.empty()) return absl::OkStatus();
    const std::vector<int32_t> list(ids.begin(), ids.end());
    std::string bytes(list.size() * sizeof(int32_t), '\0');
    std::memcpy(bytes.data(), list.data(), bytes.size());
    const std::string_view kept = metadata_.Keep(std::move(bytes));
    metadata_.AddMetadata("tokenizer.ggml.eog_token_ids",
                          MetadataNumbers{.type = MetadataNumbers::Type::kInt32,
                                          .count = static_cast<int64_t>(list.size()),
                                          .data = reinterpret_cast<const std::byte*>(kept.data())});
    return absl::OkStatus();
  }

 private:
  static absl::StatusOr<JsonDocument> Parse(const std::string& path) {
    ASSIGN_OR_RETURN(const std::string text, ReadText(path, kConfigBytesMax));
    base::JsonLimits limits;
    limits.members_max = 1 << 20;
    auto document = JsonDocument::Parse(text, limits);
    if (!document.ok()) return base::Annotate(document.status(), path);
    return document;
  }

  absl::Status SpecialTokens(const JsonValue& root) {
    for (const std::string_view name : {"bos", "eos"}) {
      const std::string key(name);
      ASSIGN_OR_RETURN(std::string text, TokenText(root.Get(key + "_token")));
      if (text.empty()) continue;
      metadata_.AddMetadata(metadata_.Keep("tokenizer.huggingface." + key + "_token"),
                            metadata_.Keep(std::move(text)));
    }
    // Only these classes go by the two flags; for others the file's post_processor counts.
    ASSIGN_OR_RETURN(const auto kind, root.Get("tokenizer_class").OptionalString());
    const std::string name = kind.value_or("");
    const bool heeds =
        name.starts_with("Llama") || name.starts_with("CodeLlama") || name.starts_with("Gemma");
    for (const char* flag : {"add_bos_token", "add_eos_token"}) {
      ASSIGN_OR_RETURN(const auto value, root.Get(flag).OptionalBool());
      if (!heeds || !value.has_value()) continue;
      metadata_.AddMetadata(metadata_.Keep(std::string("tokenizer.ggml.") + flag), *value);
    }
    return absl::OkStatus();
  }

  // A text, or a list of named ones, of which "default" is the one that is used.
  absl::Status ChatTemplates(const JsonValue& value) {
    if (value.missing()) return absl::OkStatus();
    if (value.is_string()) return AddTemplate("tokenizer.chat_template", value);
    if (!value.is_array() || value.size() > kTemplatesMax) {
      return value.Error("expected a template or a list of at most 32 named ones");
    }
    for (size_t i = 0; i < value.size(); ++i) {
      ASSIGN_OR_RETURN(const std::string name, value.At(i).Get("name").AsString());
      const std::string key = name == "default" ? "" : "." + name;
      RETURN_IF_ERROR(AddTemplate("tokenizer.chat_template" + key, value.At(i).Get("template")));
    }
    return absl::OkStatus();
  }
  absl::Status AddTemplate(const std::string& key, const JsonValue& value) {
    ASSIGN_OR_RETURN(std::string text, value.AsString());
    if (static_cast<int64_t>(text.size()) > kTemplateBytesMax) return value.Error("over 1 MiB");
    metadata_.AddMetadata(metadata_.Keep(key), metadata_.Keep(std::move(text)));
    return absl::OkStatus();
  }

  // One id or a list of them.
  static absl::Status AddIds(const JsonValue& value, std::set<int32_t>* ids) {
    if (value.missing()) return absl::OkStatus();
    const size_t count = value.is_array() ? value.size() : 1;
    if (count > 256) return value.Error("more than 256 ids");
    for (size_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(const int64_t id,
                       (value.is_array() ? value.At(i) : value).AsInt(0, 1 << 24));
      ids->insert(static_cast<int32_t>(id));
    }
    return absl::OkStatus();
  }

  // What the authors recommend, where they sample at all.
  absl::Status Sampling(const JsonValue& root) {
    ASSIGN_OR_RETURN(const auto samples, root.Get("do_sample").OptionalBool());
    if (!samples.value_or(false)) return absl::OkStatus();
    constexpr std::pair<const char*, const char*> kFields[] = {
        {"temperature", "general.sampling.temp"},
        {"top_p", "general.sampling.top_p"},
        {"min_p", "general.sampling.min_p"},
        {"repetition_penalty", "general.sampling.penalty_repeat"}};
    for (const auto& [field, key] : kFields) {
      ASSIGN_OR_RETURN(const auto value, root.Get(field).OptionalNumber(-1e6, 1e6));
      if (value.has_value()) metadata_.AddMetadata(key, *value);
    }
    ASSIGN_OR_RETURN(const auto top_k, root.Get("top_k").OptionalInt(0, 1 << 30));
    if (top_k.has_value()) metadata_.AddMetadata("general.sampling.top_k", *top_k);
    return absl::OkStatus();
  }

  std::string folder_;
  DirectorySource& metadata_;
};

}  // namespace

absl::Status ReadHfTextFiles(const std::string& folder, const JsonValue& config,
                             DirectorySource* metadata) {
  Reader reader(folder, metadata);
  ASSIGN_OR_RETURN(const bool has_tokenizer, reader.Tokenizer());
  if (!has_tokenizer) return absl::OkStatus();
  RETURN_IF_ERROR(reader.TemplateFile());
  RETURN_IF_ERROR(reader.TokenizerConfig());
  return At(reader.EndOfGeneration(config), folder + "/config.json");
}

}  // namespace conclave::engine
