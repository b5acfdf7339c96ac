#include "base/sha256.h"

#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"

namespace conclave::base {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;

}  // namespace

std::string Sha256::Hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_.get(), digest, &size);
  return absl::BytesToHexString(Abs({reinterpret_cast<const char*>(digest), size}));
}

absl::StatusOr<std::string> Sha256Digest(std::span<const std::string> files,
                                         const std::stop_token& stop) {
  Sha256 hash;
  std::string buffer(kReadBytes, '\0');
  for (const std::string& name : files) {
    std::ifstream file(name, std::ios::binary);
    if (!file) return NotFound(absl::StrCat(name, ": cannot be read"));
    while (file) {
      if (stop.stop_requested()) return absl::CancelledError("stopped");
      file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      hash.Add(buffer.data(), static_cast<size_t>(file.gcount()));
    }
    if (file.bad()) return absl::DataLossError(absl::StrCat(name, ": reading it fails"));
  }
  return absl::StrCat("sha256:", hash.Hex());
}

}  // namespace conclave::base
