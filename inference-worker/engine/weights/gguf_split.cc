#include "engine/weights/gguf_split.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace conclave::engine {
namespace {

constexpr int64_t kMaxTensors = 65'536;  // of the whole model
constexpr size_t kSuffixBytes = std::string_view("-00001-of-00003.gguf").size();

absl::Status Error(const ModelSource& shard, std::string_view field, const std::string& why) {
  return base::InvalidArgument(std::string(shard.path()) + ": gguf: " + std::string(field) + ": " +
                               why);
}

std::string Suffix(int64_t number, int64_t count) {
  char text[32];
  std::snprintf(text, sizeof text, "-%05lld-of-%05lld.gguf", static_cast<long long>(number + 1),
                static_cast<long long>(count));
  return text;
}

// Every shard of the model that has `path` without its suffix in common.
std::vector<std::string> AllShards(const std::string& path, int64_t count) {
  const std::string prefix = path.substr(0, path.size() - Suffix(0, count).size());
  std::vector<std::string> paths;
  for (int64_t i = 0; i < count; ++i) paths.push_back(prefix + Suffix(i, count));
  return paths;
}

bool IsSplitKey(std::string_view key) { return key.starts_with("split."); }

absl::Status CheckPlace(const ModelSource& shard, const GgufSplit& expected) {
  ASSIGN_OR_RETURN(const GgufSplit found, ReadSplit(shard));
  const auto differs = [&](std::string_view field, int64_t wanted, int64_t is) {
    return Error(shard, field,
                 "expected " + std::to_string(wanted) + " here, found " + std::to_string(is));
  };
  if (found.count != expected.count) return differs("split.count", expected.count, found.count);
  if (found.number != expected.number) return differs("split.no", expected.number, found.number);
  if (found.tensors != expected.tensors) {
    return differs("split.tensors.count", expected.tensors, found.tensors);
  }
  return absl::OkStatus();
}

// What a later shard repeats of the metadata must be what the first said.
absl::Status JoinMetadata(const ModelSource& shard, const ModelSource& first,
                          DirectorySource& joined) {
  for (const MetadataEntry& entry : shard.metadata()) {
    if (IsSplitKey(entry.key) || joined.AddMetadata(entry.key, entry.value, entry.raw)) continue;
    const MetadataEntry* known = joined.FindMetadata(entry.key);
    if (!std::equal(entry.raw.begin(), entry.raw.end(), known->raw.begin(), known->raw.end())) {
      return Error(shard, entry.key,
                   "differs from " + std::string(first.path()) + ": a shard of another model");
    }
  }
  return absl::OkStatus();
}

absl::Status JoinTensors(const ModelSource& shard, DirectorySource& joined) {
  for (const TensorEntry& tensor : shard.tensors()) {
    if (!joined.AddTensor(tensor.name, tensor.view)) {
      return Error(shard, tensor.name, "in an earlier shard too");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufSplit> ReadSplit(const ModelSource& shard) {
  GgufSplit split;
  ASSIGN_OR_RETURN(split.count, shard.GetInt("split.count", 0, kMaxShards, 1));
  if (split.count <= 1) return GgufSplit();
  ASSIGN_OR_RETURN(split.number, shard.GetInt("split.no", 0, split.count - 1));
  ASSIGN_OR_RETURN(split.tensors, shard.GetInt("split.tensors.count", 0, kMaxTensors, -1));
  return split;
}

absl::StatusOr<std::vector<std::string>> ShardPaths(const std::string& path,
                                                    const GgufSplit& split) {
  if (split.count == 1) return std::vector<std::string>{path};
  const std::string own = Suffix(split.number, split.count);
  if (!path.ends_with(own)) {
    return base::InvalidArgument(path + ": gguf: split.no: shard " +
                                 std::to_string(split.number + 1) + " of " +
                                 std::to_string(split.count) + ", whose name should end in " + own);
  }
  return AllShards(path, split.count);
}

std::vector<std::string> ShardPaths(const std::string& path) {
  // Only what Suffix would write of the two numbers counts.
  int number = 0;
  int count = 0;
  const std::string_view tail(path.data() + path.size() - std::min(path.size(), kSuffixBytes));
  const bool scanned =
      std::sscanf(std::string(tail).c_str(), "-%5d-of-%5d.gguf", &number, &count) == 2;
  if (!scanned || number < 1 || number > count || count > kMaxShards ||
      tail != Suffix(number - 1, count)) {
    return {path};
  }
  return AllShards(path, count);
}

absl::StatusOr<std::shared_ptr<DirectorySource>> JoinShards(
    const std::string& name, std::vector<std::shared_ptr<DirectorySource>> shards) {
  const ModelSource& first = *shards.front();
  ASSIGN_OR_RETURN(const GgufSplit split, ReadSplit(first));
  if (split.count != static_cast<int64_t>(shards.size())) {
    return Error(
        first, "split.count",
        std::to_string(split.count) + ", but " + std::to_string(shards.size()) + " shards");
  }
  auto joined = std::make_shared<DirectorySource>(name);
  int64_t tensors = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    DirectorySource& shard = *shards[i];
    RETURN_IF_ERROR(CheckPlace(
        shard,
        {.number = static_cast<int64_t>(i), .count = split.count, .tensors = split.tensors}));
    tensors += static_cast<int64_t>(shard.tensors().size());
    if (tensors > kMaxTensors) return Error(shard, "n_tensors", "more than 65536 in all shards");
    RETURN_IF_ERROR(JoinMetadata(shard, first, *joined));
    RETURN_IF_ERROR(JoinTensors(shard, *joined));
    joined->AddFiles(shard.TakeFiles());
  }
  if (split.tensors >= 0 && tensors != split.tensors) {
    return Error(
        first, "split.tensors.count",
        std::to_string(split.tensors) + ", but the shards hold " + std::to_string(tensors));
  }
  return joined;
}

}  // namespace conclave::engine
