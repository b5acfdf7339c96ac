// A model source that passes everything on to another: for those that change one thing of it.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "engine/weights/source.h"

namespace conclave::engine {

// Thread-safe as the other is.
class ForwardingSource : public ModelSource {
 public:
  explicit ForwardingSource(std::shared_ptr<const ModelSource> to) : to_(std::move(to)) {}

  std::string_view path() const override { return to_->path(); }
  std::span<const MetadataEntry> metadata() const override { return to_->metadata(); }
  std::span<const TensorEntry> tensors() const override { return to_->tensors(); }
  const MetadataEntry* FindMetadata(std::string_view key) const override {
    return to_->FindMetadata(key);
  }
  const TensorEntry* FindTensor(std::string_view name) const override {
    return to_->FindTensor(name);
  }
  void Prepare(const TensorEntry& entry) const override { to_->Prepare(entry); }
  void DoneWith(const TensorView& tensor) const override { to_->DoneWith(tensor); }
  absl::Status Health() const override { return to_->Health(); }

 protected:
  const ModelSource& to() const { return *to_; }

 private:
  const std::shared_ptr<const ModelSource> to_;
};

}  // namespace conclave::engine
