// A model cut into several GGUF files, "<prefix>-00001-of-00003.gguf" to "…-00003-of-00003.gguf",
// as gguf-split writes them: each with the keys split.no (from 0), split.count and
// split.tensors.count (of all shards together), the model's metadata in the first and its tensors
// in any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/weights/directory.h"

namespace conclave::engine {

inline constexpr int64_t kMaxShards = 512;

// Where a file says it belongs. A file that says nothing is the only shard.
struct GgufSplit {
  int64_t number = 0;  // from 0
  int64_t count = 1;
  int64_t tensors = -1;  // of all shards; -1 = not said
};
// INVALID_ARGUMENT for keys of the wrong type or out of range.
absl::StatusOr<GgufSplit> ReadSplit(const ModelSource& shard);

// The files of the model that `path` is a shard of, in order, `path` among them. INVALID_ARGUMENT
// when the name is not that of shard `split.number` of `split.count`.
absl::StatusOr<std::vector<std::string>> ShardPaths(const std::string& path,
                                                    const GgufSplit& split);

// The same by the name alone, for who may not read the file yet: `path` itself unless it ends like
// a shard.
std::vector<std::string> ShardPaths(const std::string& path);

// One source over the shards, which are given in order. INVALID_ARGUMENT names the shard and what
// is wrong: its place, its counts, metadata that differs from the first shard's, a tensor that
// another has too.
absl::StatusOr<std::shared_ptr<DirectorySource>> JoinShards(
    const std::string& name, std::vector<std::shared_ptr<DirectorySource>> shards);

}  // namespace conclave::engine
