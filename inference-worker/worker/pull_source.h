// Where models may be fetched from: what the worker's configuration names, and nothing a request
// says. A source is a tree of files, here or behind HTTP.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace conclave::worker {

// Paths are relative and have no "..". Thread-safe; calls block.
class PullSource {
 public:
  virtual ~PullSource() = default;

  // As the configuration names it, for who reads an error.
  virtual const std::string& name() const = 0;
  // A small file as a whole. NOT_FOUND; RESOURCE_EXHAUSTED: longer than `bytes_max`.
  virtual absl::StatusOr<std::string> Read(const std::string& path, size_t bytes_max) = 0;
  // A large one in pieces, from its byte `from` on: `begin` with the size of the whole (0 = not
  // told), then `bytes` until one of them is not OK, which is then the result. While nothing comes,
  // empty ones do, also before `begin`, so that who waits may stop. NOT_FOUND before `begin`;
  // UNAVAILABLE: broken off.
  virtual absl::Status Copy(const std::string& path, int64_t from,
                            absl::FunctionRef<absl::Status(int64_t total)> begin,
                            absl::FunctionRef<absl::Status(std::string_view)> bytes) = 0;

  // Where a registry of Ollama's kind keeps a manifest and a layer: `ns` "library", `tag` "latest".
  struct ManifestName {
    std::string host;
    std::string ns;
    std::string model;
    std::string tag;
  };
  virtual std::string ManifestPath(const ManifestName& name) const = 0;
  virtual std::string LayerPath(const ManifestName& name, const std::string& digest) const = 0;
};

// A folder: files as they are, or the models folder of an Ollama. NOT_FOUND: there is none.
absl::StatusOr<std::unique_ptr<PullSource>> OpenFolderSource(const std::string& folder);

}  // namespace conclave::worker
