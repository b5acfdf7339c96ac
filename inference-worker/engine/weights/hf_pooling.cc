// What sentence-transformers adds to a folder: how the vectors of a text's tokens become one.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "engine/weights/hf_folder.h"
#include "engine/weights/mapped_file.h"

namespace conclave::engine {
namespace {

namespace fs = std::filesystem;
using base::JsonDocument;
using base::JsonValue;

constexpr size_t kConfigBytesMax = 1 << 20;

// Absent when there is no such file.
absl::StatusOr<std::optional<JsonDocument>> ReadIfThere(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path.string()));
  if (file->bytes().size() > kConfigBytesMax) {
    return base::InvalidArgument(path.string() + ": over 1 MiB");
  }
  const std::string text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  auto document = JsonDocument::Parse(text);
  if (!document.ok()) return base::Annotate(document.status(), path.string());
  return *std::move(document);
}

// Whether a path that a file names stays in the file's folder.
bool LiesInside(const fs::path& path) {
  return path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end();
}

// The folder of the pooling module; "1_Pooling" where there is no list of modules.
absl::StatusOr<std::string> FindPooling(const JsonValue& modules) {
  std::string folder = "1_Pooling";
  for (size_t i = 0; i < modules.size(); ++i) {
    const JsonValue module = modules.At(i);
    ASSIGN_OR_RETURN(const std::string type, module.Get("type").AsString());
    if (type.ends_with(".Dense")) {
      return base::Unimplemented(module.Get("type").path() + ": a dense layer after the pooling");
    }
    if (!type.ends_with(".Pooling")) continue;
    ASSIGN_OR_RETURN(folder, module.Get("path").AsString());
    if (!LiesInside(folder)) return module.Get("path").Error("leaves the folder");
  }
  return folder;
}

// The numbers are those of GGUF's pooling_type.
struct PoolingName {
  std::string_view word;         // as newer files say it
  std::string_view switch_name;  // as older ones do, with a switch for each way
  int64_t type;
};
constexpr PoolingName kPoolings[] = {{"mean", "pooling_mode_mean_tokens", 1},
                                     {"cls", "pooling_mode_cls_token", 2},
                                     {"lasttoken", "pooling_mode_lasttoken", 3}};

absl::StatusOr<int64_t> ReadPooling(const JsonValue& root) {
  ASSIGN_OR_RETURN(const auto word, root.Get("pooling_mode").OptionalString());
  if (word.has_value()) {
    for (const PoolingName& name : kPoolings) {
      if (*word == name.word) return name.type;
    }
    return base::Unimplemented("pooling_mode: \"" + word->substr(0, 64) + "\" is not supported");
  }
  std::vector<std::string> on;
  root.ForEachMember([&](std::string_view key, const JsonValue& value) {
    const bool set = value.is_bool() && *value.AsBool();
    if (key.starts_with("pooling_mode_") && set) on.emplace_back(key);
  });
  for (const PoolingName& name : kPoolings) {
    if (on.size() == 1 && on[0] == name.switch_name) return name.type;
  }
  return base::Unimplemented("expected one of mean, cls and last pooling");
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> ReadHfPooling(const std::string& folder) {
  const fs::path modules_path = fs::path(folder) / "modules.json";
  ASSIGN_OR_RETURN(const auto modules, ReadIfThere(modules_path));
  const auto pooling = FindPooling(modules.has_value() ? modules->root() : JsonValue());
  if (!pooling.ok()) return base::Annotate(pooling.status(), modules_path.string());
  const fs::path path = fs::path(folder) / *pooling / "config.json";
  ASSIGN_OR_RETURN(const auto config, ReadIfThere(path));
  if (!config.has_value()) return std::nullopt;
  const auto type = ReadPooling(config->root());
  if (!type.ok()) return base::Annotate(type.status(), path.string());
  return *type;
}

}  // namespace conclave::engine
