// Metadata and names of a GGUF file over the tensors of a checkpoint.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/weights/derived.h"
#include "engine/weights/directory.h"
#include "engine/weights/hf/tensor.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// Filled while a folder is opened, immutable afterwards.
class HfSource final : public ModelSource {
 public:
  HfSource(std::string folder, std::shared_ptr<const ModelSource> raw)
      : names_(std::move(folder)), raw_(std::move(raw)) {}

  // A tensor that lies in the checkpoint stays there; another is made when it is prepared.
  absl::Status Add(std::string name, HfTensor tensor);
  DirectorySource& names() { return names_; }
  const ModelSource& raw() const { return *raw_; }

  std::string_view path() const override { return names_.path(); }
  std::span<const MetadataEntry> metadata() const override { return names_.metadata(); }
  std::span<const TensorEntry> tensors() const override { return names_.tensors(); }
  const MetadataEntry* FindMetadata(std::string_view key) const override {
    return names_.FindMetadata(key);
  }
  const TensorEntry* FindTensor(std::string_view name) const override {
    return names_.FindTensor(name);
  }
  void Prepare(const TensorEntry& entry) const override;
  void DoneWith(const TensorView& tensor) const override;
  absl::Status Health() const override { return raw_->Health(); }

 private:
  DirectorySource names_;
  std::shared_ptr<const ModelSource> raw_;
  std::unordered_map<const std::byte*, std::unique_ptr<DerivedTensor>> derived_;
};

}  // namespace conclave::engine
