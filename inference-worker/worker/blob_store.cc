#include "worker/blob_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDigestPrefix = "sha256:";
constexpr std::string_view kPartialPrefix = ".partial-";
constexpr char kKeptPrefix[] = ".partial-sha256-";
constexpr std::chrono::hours kKeptFor{7 * 24};
// In the folder: the lock under which files are claimed and taken away, an empty file for each
// claim, dated by it, and for a moment the file that goes.
constexpr char kClaims[] = ".claims";
constexpr char kGoing[] = ".going";
constexpr size_t kHashedPieceBytes = 1 << 20;
constexpr int kTriesMax = 8;

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

bool StartsWith(const std::string& name, std::string_view prefix) {
  return name.compare(0, prefix.size(), prefix) == 0;
}

bool IsBlobName(const std::string& name) {
  return StartsWith(name, "sha256-") && IsDigest("sha256:" + name.substr(7));
}

std::string ClaimPath(const std::string& folder, const std::string& name) {
  return absl::StrCat(folder, "/", kClaims, "/", name);
}

// Held by one at a time of all processes that share the folder. What cannot be locked (a folder
// that is not to be written) is not collected either.
class FolderLock final {
 public:
  explicit FolderLock(const std::string& folder)
      : fd_(::open(ClaimPath(folder, "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                   0640)) {
    while (fd_ >= 0 && ::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  bool held() const { return fd_ >= 0; }

 private:
  const int fd_;
};

// When the file was last written; nothing when it is not there.
std::optional<BlobStore::Time> DateOf(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec) +
         std::chrono::milliseconds(info.st_mtim.tv_nsec / 1'000'000);
}

// A process that died while it took a file away leaves it here.
void PutBack(const std::string& folder) {
  const FolderLock lock(folder);
  if (!lock.held()) return;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder + "/" + kClaims, error)) {
    if (entry.path().extension() != kGoing) continue;
    fs::rename(entry.path(), fs::path(folder) / entry.path().stem(), error);
  }
}

// Takes away what nobody takes up any more, unless somebody is writing it: a writer holds the
// file's lock, and looks whether the file is still there once it has it.
bool RemoveLeftover(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (!StartsWith(name, kPartialPrefix)) return false;
  std::error_code error;
  const auto age = fs::file_time_type::clock::now() - entry.last_write_time(error);
  if (StartsWith(name, kKeptPrefix) && !error && age <= kKeptFor) return false;
  const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool free = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  const bool removed = free && ::unlink(entry.path().c_str()) == 0;
  ::close(fd);
  return removed;
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
  fs::create_directory(fs::path(folder) / kClaims, error);
  PutBack(folder);
  auto store = std::unique_ptr<BlobStore>(new BlobStore(std::move(folder), bytes_max));
  for (const auto& entry : fs::directory_iterator(store->folder_, error)) {
    if (RemoveLeftover(entry) || !entry.is_regular_file(error)) continue;
    if (IsBlobName(entry.path().filename().string())) continue;  // CountAnew
    store->used_ += static_cast<int64_t>(entry.file_size(error));
  }
  store->CountAnew();
  return store;
}

// What others that share the folder have brought or taken away is counted, too.
void BlobStore::CountAnew() {
  const std::lock_guard lock(mutex_);
  std::map<std::string, int64_t> now;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    if (!IsBlobName(name) || !entry.is_regular_file(error)) continue;
    const auto size = static_cast<int64_t>(entry.file_size(error));
    if (!error) now[name] = size;
  }
  for (const auto& [name, size] : counted_) used_ -= size;
  for (const auto& [name, size] : now) used_ += size;
  counted_ = std::move(now);
}

void BlobStore::Claim(const std::string& name) const {
  const int fd =
      ::open(ClaimPath(folder_, name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (fd < 0) return;
  ::futimens(fd, nullptr);
  ::close(fd);
}

bool BlobStore::IsNeeded(const std::string& name, const Needs& needs, Time now) const {
  if (needs.named.contains(name) || needs.in_use(name)) return true;
  const std::optional<Time> claimed = DateOf(ClaimPath(folder_, name));
  const auto dropped = needs.dropped.find(name);
  if (dropped != needs.dropped.end() && (!claimed || *claimed <= dropped->second)) return false;
  const std::optional<Time> written = DateOf(folder_ + "/" + name);
  return !written || now - std::max(*written, claimed.value_or(*written)) < needs.unnamed_for;
}

BlobStore::Collected BlobStore::Collect(const Needs& needs, Time now) {
  Collected collected;
  CountAnew();
  std::map<std::string, int64_t> blobs;
  {
    const std::lock_guard lock(mutex_);
    blobs = counted_;
  }
  for (const auto& [name, size] : blobs) {
    const FolderLock lock(folder_);
    if (!lock.held() || IsNeeded(name, needs, now)) continue;
    // Out of reach first: what has been opened until then is seen to be in use.
    const std::string path = folder_ + "/" + name;
    const std::string going = ClaimPath(folder_, name) + kGoing;
    if (::rename(path.c_str(), going.c_str()) != 0) continue;
    if (needs.in_use(name)) {
      ::rename(going.c_str(), path.c_str());
      continue;
    }
    if (::unlink(going.c_str()) != 0) continue;
    ::unlink(ClaimPath(folder_, name).c_str());
    ++collected.files;
    collected.bytes += size;
  }
  CountAnew();
  return collected;
}

absl::StatusOr<int64_t> BlobStore::Find(std::string_view digest) const {
  if (!IsDigest(digest)) {
    return base::InvalidArgument("digest: expected sha256: and 64 lower-case hex digits");
  }
  struct stat info {};
  const std::string name = BlobName(digest);
  const std::string path = folder_ + "/" + name;
  const FolderLock lock(folder_);
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return base::WithReason(base::NotFound("digest: no such blob"), "blob_not_found");
  }
  Claim(name);
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
  for (int tries = 0; tries < kTriesMax; ++tries) {
    const std::string path = absl::StrCat(folder_, "/", base::NewId(kPartialPrefix));
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) return FileError("cannot write to the blob folder");
    struct stat info {};
    // Another worker that starts just now may have taken it for a leftover.
    if (::flock(fd, LOCK_EX) == 0 && ::fstat(fd, &info) == 0 && info.st_nlink > 0) {
      return std::unique_ptr<Writer>(new Writer(this, std::move(digest), path, fd, false));
    }
    ::close(fd);
  }
  return base::Internal("cannot write to the blob folder: its files vanish");
}

absl::StatusOr<std::unique_ptr<BlobStore::Writer>> BlobStore::Continue(const std::string& digest) {
  if (!IsDigest(digest)) return Begin(digest);
  const std::string path =
      absl::StrCat(folder_, "/", kKeptPrefix, digest.substr(kDigestPrefix.size()));
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (fd < 0) return FileError("cannot write to the blob folder");
  struct stat info {};
  // Not when somebody else writes it, or has just finished or dropped it.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || ::fstat(fd, &info) != 0 || info.st_nlink == 0) {
    ::close(fd);
    return Begin(digest);
  }
  auto writer = std::unique_ptr<Writer>(new Writer(this, digest, path, fd, true));
  RETURN_IF_ERROR(writer->TakeUp());
  return writer;
}

// The bytes that are there are counted already.
absl::Status BlobStore::Writer::TakeUp() {
  std::string piece(kHashedPieceBytes, '\0');
  while (true) {
    const ssize_t n = ::read(fd_, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError("cannot read what was pulled before");
    if (n == 0) return absl::OkStatus();
    hash_.Add(piece.data(), static_cast<size_t>(n));
    size_ += n;
  }
}

BlobStore::Writer::~Writer() {
  const bool stays = done_ || (keeps_ && size_ > 0);
  if (!stays) {
    ::unlink(path_.c_str());
    store_->Reserve(-size_);
  }
  ::close(fd_);  // and with it the lock
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
    if (n < 0) {
      const absl::Status failed = FileError("cannot write to the disk");
      // What is not there is not counted: a kept file may outlive us.
      size_ -= static_cast<int64_t>(bytes.size());
      store_->Reserve(-static_cast<int64_t>(bytes.size()));
      return failed;
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> BlobStore::Writer::Commit() {
  const std::string digest = std::string(kDigestPrefix) + hash_.Hex();
  if (!digest_.empty() && digest != digest_) {
    keeps_ = false;
    return base::WithReason(base::InvalidArgument(absl::StrCat("digest mismatch, expected ",
                                                               digest_, ", got ", digest)),
                            "digest_mismatch");
  }
  if (::fsync(fd_) != 0) return FileError("cannot write to the disk");
  const std::string to = store_->folder_ + "/" + BlobName(digest);
  if (store_->Find(digest).ok()) {  // somebody was faster: ours goes
    keeps_ = false;
    return digest;
  }
  {
    const std::lock_guard lock(store_->mutex_);
    if (::rename(path_.c_str(), to.c_str()) != 0) return FileError("cannot name the blob");
    store_->counted_[BlobName(digest)] = size_;
  }
  done_ = true;
  RETURN_IF_ERROR(Sync(store_->folder_, O_RDONLY | O_DIRECTORY));
  return digest;
}

}  // namespace conclave::worker
