#include "engine/weights/directory.h"

#include <utility>

namespace conclave::engine {

bool DirectorySource::AddMetadata(std::string_view key, MetadataValue value,
                                  std::span<const std::byte> raw) {
  if (!metadata_index_.emplace(key, metadata_.size()).second) return false;
  metadata_.push_back({key, std::move(value), raw});
  return true;
}

bool DirectorySource::AddTensor(std::string name, const TensorView& view) {
  if (!tensor_index_.emplace(name, tensors_.size()).second) return false;
  tensors_.push_back({std::move(name), view});
  return true;
}

std::string_view DirectorySource::Keep(std::string text) {
  texts_.push_back(std::make_unique<std::string>(std::move(text)));
  return *texts_.back();
}

const MetadataEntry* DirectorySource::FindMetadata(std::string_view key) const {
  const auto found = metadata_index_.find(key);
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second];
}

const TensorEntry* DirectorySource::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(std::string(name));
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

void DirectorySource::DoneWith(const TensorView& tensor) const {
  for (const auto& file : files_) {
    const auto bytes = file->bytes();
    if (tensor.data >= bytes.data() && tensor.data < bytes.data() + bytes.size()) {
      file->Release(tensor.data, tensor.bytes());
    }
  }
}

absl::Status DirectorySource::Health() const {
  for (const auto& file : files_) {
    if (file->faulted()) {
      return base::FailedPrecondition(file->path() + ": the file was cut short while in use");
    }
  }
  return absl::OkStatus();
}

}  // namespace conclave::engine
