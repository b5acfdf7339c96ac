// Files by their digest, in one folder: sha256-<hex>. A file appears whole or not at all.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/sha256.h"

namespace conclave::worker {

// "sha256:<64 hex digits, lower case>".
bool IsDigest(std::string_view text);
// The file's name in the folder.
std::string BlobName(std::string_view digest);

// Thread-safe.
class BlobStore final {
 public:
  // Makes the folder and clears away what interrupted writers left; workers may share it, and what
  // one of them is writing stays. NOT_FOUND, PERMISSION_DENIED.
  static absl::StatusOr<std::unique_ptr<BlobStore>> Open(std::string folder, int64_t bytes_max);

  // The size. NOT_FOUND; INVALID_ARGUMENT: no digest. Who asks may be about to make a model of it,
  // so Collect leaves it alone for its time, in all processes that share the folder.
  absl::StatusOr<int64_t> Find(std::string_view digest) const;

  // A file on its way in; gone with its writer unless Commit was OK or it is kept.
  // Thread-compatible.
  class Writer final {
   public:
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    // RESOURCE_EXHAUSTED: the folder, or the disk, is full.
    absl::Status Append(std::string_view bytes);
    int64_t size() const { return size_; }
    // On disk for good, under its digest, which it gives. INVALID_ARGUMENT (digest_mismatch).
    absl::StatusOr<std::string> Commit();
    // What was written is not worth keeping.
    void Forget() { keeps_ = false; }

   private:
    friend class BlobStore;
    Writer(BlobStore* store, std::string digest, std::string path, int fd, bool keeps)
        : store_(store),
          digest_(std::move(digest)),
          path_(std::move(path)),
          fd_(fd),
          keeps_(keeps) {}
    absl::Status TakeUp();

    BlobStore* const store_;
    const std::string digest_;  // expected; empty = whatever it is
    const std::string path_;    // while it is written
    const int fd_;
    bool keeps_;  // an interrupted file stays, to be taken up by another writer
    base::Sha256 hash_;
    int64_t size_ = 0;
    bool done_ = false;
  };
  // The store outlives its writers.
  absl::StatusOr<std::unique_ptr<Writer>> Begin(std::string digest);
  // The same for what can be continued: the writer begins with what an interrupted one of the same
  // digest has left (size()), if nobody else is writing it. What is not taken up for a week is
  // cleared away by Open.
  absl::StatusOr<std::unique_ptr<Writer>> Continue(const std::string& digest);

  using Time = std::chrono::system_clock::time_point;
  struct Needs {
    std::set<std::string> named;          // file names
    std::map<std::string, Time> dropped;  // by file name; see DroppedBlob in blobs.proto
    std::chrono::milliseconds unnamed_for{0};
    // Whether a model is made from the file of this name; asked again when it is about to go.
    std::function<bool(const std::string& name)> in_use;
  };
  struct Collected {
    int64_t files = 0;
    int64_t bytes = 0;
  };
  // Takes away what nobody needs: neither named nor in use, and neither written nor asked for
  // within `unnamed_for` of `now`, or dropped and not asked for since.
  Collected Collect(const Needs& needs, Time now);

  const std::string& folder() const { return folder_; }

 private:
  BlobStore(std::string folder, int64_t bytes_max)
      : folder_(std::move(folder)), bytes_max_(bytes_max) {}
  // Room for so many more bytes, or for so many less.
  bool Reserve(int64_t bytes);
  void Claim(const std::string& name) const;
  bool IsNeeded(const std::string& name, const Needs& needs, Time now) const;
  void CountAnew();

  const std::string folder_;
  const int64_t bytes_max_;
  std::mutex mutex_;
  int64_t used_ = 0;
  std::map<std::string, int64_t> counted_;  // the blobs in used_, by file name
};

}  // namespace conclave::worker
