// An open model file, whatever its kind: metadata by key and a directory of tensors. Readers
// (gguf.h, safetensors.h) have checked everything against the file's bounds before a source exists,
// so what it gives may be read without further care.
//
//   ASSIGN_OR_RETURN(std::shared_ptr<const ModelSource> source, OpenGguf(path));
//   ASSIGN_OR_RETURN(int64_t layers, source->GetInt("qwen3moe.block_count", 1, 1024));
//   const TensorEntry* entry = source->FindTensor("token_embd.weight");
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "engine/tensor/tensor_view.h"

namespace conclave::engine {

// An array of numbers or bools as it lies in the file, little-endian, unaligned.
struct MetadataNumbers {
  enum class Type {
    kUint8,
    kInt8,
    kUint16,
    kInt16,
    kUint32,
    kInt32,
    kUint64,
    kInt64,
    kFloat32,
    kFloat64,
    kBool
  };
  Type type = Type::kUint8;
  int64_t count = 0;
  const std::byte* data = nullptr;
};

// Strings are views into the file. uint64 holds what does not fit int64.
using MetadataValue = std::variant<bool, int64_t, uint64_t, double, std::string_view,
                                   MetadataNumbers, std::vector<std::string_view>>;

struct MetadataEntry {
  std::string_view key;
  MetadataValue value;
  // Key, type and value as they lie in a GGUF file, for who writes them again; empty when the
  // source is none.
  std::span<const std::byte> raw;
};

struct TensorEntry {
  std::string name;
  TensorView view;
};

// Immutable after it was opened; thread-safe. Views live as long as the source.
class ModelSource {
 public:
  virtual ~ModelSource() = default;

  // The file it came from, for messages.
  virtual std::string_view path() const = 0;
  // In file order.
  virtual std::span<const MetadataEntry> metadata() const = 0;
  virtual std::span<const TensorEntry> tensors() const = 0;
  // nullptr when there is none.
  virtual const MetadataEntry* FindMetadata(std::string_view key) const = 0;
  virtual const TensorEntry* FindTensor(std::string_view name) const = 0;
  // Makes the bytes of a tensor of this source readable; they stay so until DoneWith. Most sources
  // have nothing to do: their tensors lie in the file as they are.
  virtual void Prepare(const TensorEntry&) const {}
  // The bytes of this tensor will not be read soon (they were packed elsewhere): advice to the
  // system to let their pages go. Reading again stays allowed, after Prepare.
  virtual void DoneWith(const TensorView& tensor) const = 0;
  // FAILED_PRECONDITION once the file changed under the mapping (it was cut short): what was read
  // since then is zeros, and the model must be taken out of service.
  virtual absl::Status Health() const = 0;

  // Typed readers. NOT_FOUND "<path>: metadata key <key> is missing"; INVALID_ARGUMENT for a wrong
  // type or a value outside [min, max], naming key, value and range.
  bool Has(std::string_view key) const { return FindMetadata(key) != nullptr; }
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;
  absl::StatusOr<int64_t> GetInt(std::string_view key, int64_t min, int64_t max) const;
  // Any number; finite and within [min, max].
  absl::StatusOr<double> GetFloat(std::string_view key, double min, double max) const;
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  // Integers or bools, each within int64.
  absl::StatusOr<std::vector<int64_t>> GetInts(std::string_view key) const;
  absl::StatusOr<std::vector<float>> GetFloats(std::string_view key) const;

  // The same for keys that may be absent.
  absl::StatusOr<std::string_view> GetString(std::string_view key, std::string_view fallback) const;
  absl::StatusOr<int64_t> GetInt(std::string_view key, int64_t min, int64_t max,
                                 int64_t fallback) const;
  absl::StatusOr<double> GetFloat(std::string_view key, double min, double max,
                                  double fallback) const;
  absl::StatusOr<bool> GetBool(std::string_view key, bool fallback) const;
  absl::StatusOr<std::optional<std::vector<int64_t>>> GetOptionalInts(std::string_view key) const;

  // "general.architecture": "llama", "qwen3moe", … INVALID_ARGUMENT when it is not a short
  // lower-case name.
  absl::StatusOr<std::string_view> Architecture() const;

 private:
  absl::StatusOr<const MetadataEntry*> Require(std::string_view key) const;
  absl::Status WrongType(const MetadataEntry& entry, std::string_view expected) const;
};

}  // namespace conclave::engine
