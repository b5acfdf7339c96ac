#include "worker/model_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status.h"
#include "engine/weights/gguf_split.h"

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kHeadBytes = 4 << 20;
constexpr int64_t kSampleBytes = 4 << 10;
constexpr int64_t kSamples = 256;

bool IsInside(const fs::path& path, const fs::path& folder) {
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

// Links and dots resolved. A shard keeps its own name, by which the others are found: a download
// cache has links to files named by their hash.
fs::path Resolve(const fs::path& path, std::error_code& error) {
  const fs::path canonical = fs::canonical(path, error);
  if (error || engine::ShardPaths(path.string()).size() == 1) return canonical;
  return fs::canonical(fs::absolute(path).parent_path(), error) / path.filename();
}

// This file and the others that opening it opens.
bool ShardsAreInside(const std::string& path, const fs::path& root) {
  const std::vector<std::string> shards = engine::ShardPaths(path);
  return std::all_of(shards.begin(), shards.end(), [&](const std::string& shard) {
    std::error_code missing;
    const fs::path resolved = fs::canonical(shard, missing);
    return missing || IsInside(resolved, root);
  });
}

// Adds up to `size` bytes from `offset` on.
void AddRange(std::ifstream& file, int64_t offset, int64_t size, std::string* buffer,
              base::Sha256* hash) {
  buffer->resize(static_cast<size_t>(size));
  file.clear();
  file.seekg(offset);
  file.read(buffer->data(), size);
  hash->Add(buffer->data(), static_cast<size_t>(file.gcount()));
}

// What a model consists of: of a folder config.json and, in order, its weights and tokenizer; else
// the file and the shards beside it. A missing shard is the reader's to name: the file may be whole
// in spite of its name.
std::vector<std::string> FilesOf(const std::string& path) {
  std::error_code error;
  std::vector<std::string> files;
  if (!fs::is_directory(path, error)) {
    files = engine::ShardPaths(path);
    std::erase_if(
        files, [&](const std::string& file) { return file != path && !fs::exists(file, error); });
    return files;
  }
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const fs::path& file = entry.path();
    if (file.extension() == ".safetensors" || file.filename() == "tokenizer.json") {
      files.push_back(file.string());
    }
  }
  std::sort(files.begin(), files.end());
  files.insert(files.begin(), (fs::path(path) / "config.json").string());
  return files;
}

}  // namespace

bool IsModelName(std::string_view name) {
  const auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const auto good = [&](char c) {
    return alphanumeric(c) || std::string_view("._:/-").find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= 200 && alphanumeric(name.front()) &&
         name.find("..") == std::string_view::npos && std::all_of(name.begin(), name.end(), good);
}

std::string ModelNameOf(const std::string& path) {
  fs::path p(path);
  if (engine::ShardPaths(path).size() > 1) {
    const std::string stem = p.stem().string();
    return stem.substr(0, stem.size() - std::string_view("-00001-of-00003").size());
  }
  if (!p.has_filename()) p = p.parent_path();
  return p.extension() == ".gguf" || p.extension() == ".json" ? p.stem().string()
                                                              : p.filename().string();
}

absl::StatusOr<ModelFile> CheckModelFile(const std::string& path) {
  std::error_code error;
  const fs::path canonical = Resolve(path, error);
  if (error) return base::NotFound(absl::StrCat("path: ", path, ": ", error.message()));
  fs::path file = canonical;
  if (fs::is_directory(canonical, error)) file = canonical / "config.json";
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return base::InvalidArgument(
        absl::StrCat("path: ", path, ": neither a regular file nor a model folder"));
  }
  ModelFile model{.path = canonical.string(), .modified_unix = info.st_mtim.tv_sec};
  for (const std::string& part : FilesOf(model.path)) {
    const auto bytes = static_cast<int64_t>(fs::file_size(part, error));
    if (!error) model.size_bytes += bytes;
  }
  return model;
}

absl::StatusOr<ModelFile> CheckModelFile(const std::string& path,
                                         const std::vector<std::string>& folders) {
  const absl::Status denied =
      absl::PermissionDeniedError("path: outside the model folders of this worker");
  if (path.empty()) return base::InvalidArgument("path: required");
  absl::Status missing = denied;
  for (const std::string& folder : folders) {
    std::error_code error;
    const fs::path root = fs::canonical(folder, error);
    if (error) continue;
    const fs::path resolved = Resolve(root / path, error);  // an absolute path stays itself
    if (error) {
      // Whether a file exists is told for paths inside the folder only.
      const fs::path lexical = (root / path).lexically_normal();
      if (IsInside(lexical, root))
        missing = base::NotFound("path: no such file in the model folder");
      continue;
    }
    if (IsInside(resolved, root) && ShardsAreInside(resolved.string(), root)) {
      return CheckModelFile(resolved.string());
    }
  }
  return missing;
}

absl::StatusOr<std::string> Fingerprint(const std::string& path) {
  std::error_code error;
  base::Sha256 hash;
  std::string buffer;
  for (const std::string& name : FilesOf(path)) {
    std::ifstream file(name, std::ios::binary);
    const auto size = static_cast<int64_t>(fs::file_size(name, error));
    if (error || !file) return base::NotFound(absl::StrCat(name, ": cannot be read"));
    hash.Add(&size, sizeof size);
    AddRange(file, 0, std::min(size, kHeadBytes), &buffer, &hash);
    const int64_t rest = size - kHeadBytes;
    for (int64_t i = 0; i < kSamples && rest > 0; ++i) {
      AddRange(file, kHeadBytes + rest / kSamples * i, kSampleBytes, &buffer, &hash);
    }
  }
  return hash.Hex().substr(0, 16);
}

absl::StatusOr<std::string> Sha256Digest(const std::string& path, const std::stop_token& stop) {
  return base::Sha256Digest(FilesOf(path), stop);
}

}  // namespace conclave::worker
