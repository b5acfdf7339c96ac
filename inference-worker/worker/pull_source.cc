#include "worker/pull_source.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/blob_store.h"

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;

class FolderSource final : public PullSource {
 public:
  explicit FolderSource(fs::path root) : root_(std::move(root)), name_(root_.string()) {}

  const std::string& name() const override { return name_; }
  absl::StatusOr<std::string> Read(const std::string& path, size_t bytes_max) override {
    ASSIGN_OR_RETURN(const fs::path file, Resolve(path));
    std::error_code error;
    if (fs::file_size(file, error) > bytes_max || error) {
      return base::ResourceExhausted(absl::StrCat(path, ": longer than expected"));
    }
    std::ifstream stream(file, std::ios::binary);
    std::string text(bytes_max, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(stream.gcount()));
    return text;
  }

  absl::Status Copy(const std::string& path, int64_t from,
                    absl::FunctionRef<absl::Status(int64_t)> begin,
                    absl::FunctionRef<absl::Status(std::string_view)> bytes) override {
    ASSIGN_OR_RETURN(const fs::path file, Resolve(path));
    std::error_code error;
    const auto size = static_cast<int64_t>(fs::file_size(file, error));
    std::ifstream stream(file, std::ios::binary);
    if (error || !stream) return base::NotFound(absl::StrCat(path, ": cannot be read"));
    stream.seekg(from);
    RETURN_IF_ERROR(begin(size));
    std::string piece(kPieceBytes, '\0');
    while (stream) {
      stream.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      const std::string_view read(piece.data(), static_cast<size_t>(stream.gcount()));
      if (!read.empty()) RETURN_IF_ERROR(bytes(read));
    }
    if (stream.bad()) return base::Internal(absl::StrCat(path, ": cannot be read"));
    return absl::OkStatus();
  }

  std::string ManifestPath(const ManifestName& name) const override {
    return absl::StrCat("manifests/", name.host, "/", name.ns, "/", name.model, "/", name.tag);
  }
  std::string LayerPath(const ManifestName&, const std::string& digest) const override {
    return absl::StrCat("blobs/", BlobName(digest));
  }

 private:
  // A regular file inside the folder, links resolved.
  absl::StatusOr<fs::path> Resolve(const std::string& path) const {
    std::error_code error;
    const fs::path file = fs::canonical(root_ / path, error);
    const auto [end, unused] = std::mismatch(root_.begin(), root_.end(), file.begin(), file.end());
    if (error || end != root_.end() || !fs::is_regular_file(file, error)) {
      return base::NotFound(absl::StrCat(path, ": no such file"));
    }
    return file;
  }

  const fs::path root_;
  const std::string name_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PullSource>> OpenFolderSource(const std::string& folder) {
  std::error_code error;
  fs::path root = fs::canonical(folder, error);
  if (error || !fs::is_directory(root, error)) {
    return base::NotFound(absl::StrCat("pull-from: ", folder, ": no such folder"));
  }
  return std::make_unique<FolderSource>(std::move(root));
}

}  // namespace conclave::worker
