// What the worker asks of a model file before any backend sees it: which paths may be opened, and
// how a file is recognised.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace conclave::worker {

// Letters, digits and "._:/-", 1 to 200 of them, the first a letter or digit, no "..".
bool IsModelName(std::string_view name);

// The name a file gets when nobody gave one: its stem, less the number of a shard.
std::string ModelNameOf(const std::string& path);

// A model in several GGUF files goes by any one of them; sizes, fingerprints and digests are those
// of all, in order.
struct ModelFile {
  std::string path;  // canonical
  int64_t size_bytes = 0;
  int64_t modified_unix = 0;
};

// A path from the command line: NOT_FOUND when there is nothing, INVALID_ARGUMENT for anything but
// a regular file (or a folder that holds a config.json).
absl::StatusOr<ModelFile> CheckModelFile(const std::string& path);
// A path from a request: besides, PERMISSION_DENIED unless it lies inside one of `folders` after
// links and dots are resolved, and with it all shards of the same model. Relative paths are looked
// up in each folder.
absl::StatusOr<ModelFile> CheckModelFile(const std::string& path,
                                         const std::vector<std::string>& folders);

// 16 hex digits over size, head and evenly spread samples of the file: quick, and different for any
// two models one would mix up. Streams resume only between equal fingerprints.
absl::StatusOr<std::string> Fingerprint(const std::string& path);

// "sha256:…" of the whole file; CANCELLED when asked to stop. Minutes for large files.
absl::StatusOr<std::string> Sha256Digest(const std::string& path, const std::stop_token& stop);

}  // namespace conclave::worker
