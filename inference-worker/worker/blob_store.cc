#include "worker/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDigestPrefix = "sha256:";
constexpr std::string_view kPartialPrefix = ".partial-";

absl::Status FileError(const std::string& what) {
  const int error = errno;
  std::string message = absl::StrCat(what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return base::ResourceExhausted(std::move(message));
  if (error == EACCES || error == EROFS) return absl::PermissionDeniedError(message);
  return base::Internal(std::move(message));
}

absl::Status Sync(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return FileError("cannot open the blob folder");
  const bool synced = ::fsync(fd) == 0;
  const absl::Status status = synced ? absl::OkStatus() : FileError("cannot write to the disk");
  ::close(fd);
  return status;
}

}  // namespace

bool IsDigest(std::string_view text) {
  if (text.substr(0, kDigestPrefix.size()) != kDigestPrefix) return false;
  const std::string_view hex = text.substr(kDigestPrefix.size());
  return hex.size() == 64 && std::all_of(hex.begin(), hex.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string BlobName(std::string_view digest) {
  return "sha256-" + std::string(digest.substr(kDigestPrefix.size()));
}

absl::StatusOr<std::unique_ptr<BlobStore>> BlobStore::Open(std::string folder, int64_t bytes_max) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!fs::is_directory(folder)) {
    return base::NotFound(absl::StrCat("blob-dir: ", folder, ": ", error.message()));
  }
  int64_t used = 0;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.compare(0, kPartialPrefix.size(), kPartialPrefix) == 0) {
      std::error_code ignored;
      fs::remove(entry.path(), ignored);
    } else if (entry.is_regular_file(error)) {
      used += static_cast<int64_t>(entry.file_size(error));
    }
  }
  return std::unique_ptr<BlobStore>(new BlobStore(std::move(folder), bytes_max, used));
}

absl::StatusOr<int64_t> BlobStore::Find(std::string_view digest) const {
  if (!IsDigest(digest)) {
    return base::InvalidArgument("digest: expected sha256: and 64 lower-case hex digits");
  }
  struct stat info {};
  const std::string path = folder_ + "/" + BlobName(digest);
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return base::WithReason(base::NotFound("digest: no such blob"), "blob_not_found");
  }
  return info.st_size;
}

bool BlobStore::Reserve(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (used_ + bytes > bytes_max_) return false;
  used_ += bytes;
  return true;
}

absl::StatusOr<std::unique_ptr<BlobStore::Writer>> BlobStore::Begin(std::string digest) {
  if (!digest.empty() && !IsDigest(digest)) {
    return base::InvalidArgument("digest: expected sha256: and 64 lower-case hex digits");
  }
  const std::string path = absl::StrCat(folder_, "/", base::NewId(kPartialPrefix));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (fd < 0) return FileError("cannot write to the blob folder");
  return std::unique_ptr<Writer>(new Writer(this, std::move(digest), path, fd));
}

BlobStore::Writer::~Writer() {
  ::close(fd_);
  if (done_) return;
  ::unlink(path_.c_str());
  store_->Reserve(-size_);
}

absl::Status BlobStore::Writer::Append(std::string_view bytes) {
  if (!store_->Reserve(static_cast<int64_t>(bytes.size()))) {
    return base::ResourceExhausted("the blob folder of this worker is full");
  }
  size_ += static_cast<int64_t>(bytes.size());
  hash_.Add(bytes.data(), bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError("cannot write to the disk");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> BlobStore::Writer::Commit() {
  const std::string digest = std::string(kDigestPrefix) + hash_.Hex();
  if (!digest_.empty() && digest != digest_) {
    return base::WithReason(base::InvalidArgument(absl::StrCat("digest mismatch, expected ",
                                                               digest_, ", got ", digest)),
                            "digest_mismatch");
  }
  if (::fsync(fd_) != 0) return FileError("cannot write to the disk");
  const std::string to = store_->folder_ + "/" + BlobName(digest);
  if (store_->Find(digest).ok()) return digest;  // somebody was faster: ours goes
  if (::rename(path_.c_str(), to.c_str()) != 0) return FileError("cannot name the blob");
  done_ = true;
  RETURN_IF_ERROR(Sync(store_->folder_, O_RDONLY | O_DIRECTORY));
  return digest;
}

}  // namespace conclave::worker
