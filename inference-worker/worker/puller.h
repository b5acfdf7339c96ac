// Fetches a model by name from the configured sources into the blob store.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/blob_store.h"
#include "worker/pull_source.h"

namespace conclave::worker {

struct PullStep {
  std::string status;  // "pulling manifest", "pulling <file>", "verifying sha256 digest"
  std::string digest;  // of the file at hand, where it is known
  int64_t total = 0;
  int64_t completed = 0;
};

// What a source has under a name: the weights, and what it says of the model besides.
struct Pulled {
  std::string digest;
  std::optional<std::string> system;
  std::string chat_template;                                  // "" = the model file's own
  std::string parameters;                                     // a JSON object
  std::vector<std::pair<std::string, std::string>> messages;  // role, text
  std::string license;
};

// Thread-safe.
class Puller final {
 public:
  // `blobs` must outlive it.
  Puller(BlobStore* blobs, std::vector<std::unique_ptr<PullSource>> sources)
      : blobs_(blobs), sources_(std::move(sources)) {}

  // `name` is [host/][namespace/]model[:tag]. The first source that has it: as a manifest with
  // layers, or as a plain GGUF file: <name>.gguf, <name>-<tag>.gguf, <name>/<tag>.gguf. `told` says
  // false to stop (CANCELLED). A source that cannot be reached, or fails, is passed over; what all
  // of them said is told when none is left. INVALID_ARGUMENT: no name of a model, (digest_mismatch)
  // not the bytes that were promised; NOT_FOUND; FAILED_PRECONDITION (no_pull_source);
  // RESOURCE_EXHAUSTED: no room.
  absl::StatusOr<Pulled> Pull(const std::string& name,
                              const std::function<bool(const PullStep&)>& told);

 private:
  absl::StatusOr<Pulled> PullFrom(PullSource& source, const std::string& name,
                                  const std::function<bool(const PullStep&)>& told);

  BlobStore* const blobs_;
  const std::vector<std::unique_ptr<PullSource>> sources_;
};

}  // namespace conclave::worker
