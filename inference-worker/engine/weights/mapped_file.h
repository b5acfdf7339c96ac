// A file mapped read-only. Only regular files: no device, no pipe, no directory.
//
// A mapping is a promise somebody else can break: when the file is cut short while mapped, touching
// the lost pages raises SIGBUS. A process-wide handler answers for mappings of this class: the lost
// range becomes zeros, faulted() turns true and the process lives. Whoever serves from the file
// asks faulted() after reading and takes the model out of service.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace conclave::engine {

// Thread-safe.
class MappedFile final {
 public:
  // NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT "<path>: not a regular file" / "… is empty".
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }
  const std::string& path() const { return path_; }
  bool faulted() const;
  // Advice: the pages wholly inside [data, data + size) will not be read soon.
  void Release(const std::byte* data, int64_t size) const;

 private:
  MappedFile(std::string path, std::byte* data, int64_t size, int slot)
      : path_(std::move(path)), data_(data), size_(size), slot_(slot) {}

  std::string path_;
  std::byte* data_;
  int64_t size_;
  int slot_;  // in the handler's table
};

}  // namespace conclave::engine
