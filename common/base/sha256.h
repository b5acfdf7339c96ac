// SHA-256 in pieces, and of files.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <span>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"

namespace conclave::base {

class Sha256 final {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void Add(const void* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  // 64 hex digits; once, last.
  std::string Hex();

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

// "sha256:…" of the files' bytes, one after the other. CANCELLED when stopped, NOT_FOUND and
// DATA_LOSS name the file that cannot be opened, or read to its end.
absl::StatusOr<std::string> Sha256Digest(std::span<const std::string> files,
                                         const std::stop_token& stop);

}  // namespace conclave::base
