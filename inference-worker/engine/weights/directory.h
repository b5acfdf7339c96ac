// What the readers share: a source whose metadata and tensors were listed once and are looked up
// by name from then on.
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/weights/mapped_file.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// Filled by a reader, immutable afterwards.
class DirectorySource final : public ModelSource {
 public:
  explicit DirectorySource(std::string path) : path_(std::move(path)) {}

  // False when the name was there already. The key must outlive the source.
  bool AddMetadata(std::string_view key, MetadataValue value, std::span<const std::byte> raw = {});
  bool AddTensor(std::string name, const TensorView& view);
  // Files to keep mapped; none for a source over memory.
  void AddFile(std::unique_ptr<MappedFile> file) { files_.push_back(std::move(file)); }
  void AddFiles(std::vector<std::unique_ptr<MappedFile>> files) {
    std::move(files.begin(), files.end(), std::back_inserter(files_));
  }
  // Gives the files to another source, which takes over what refers to them.
  std::vector<std::unique_ptr<MappedFile>> TakeFiles() { return std::exchange(files_, {}); }
  // Keeps text that metadata refers to but no file holds.
  std::string_view Keep(std::string text);

  std::string_view path() const override { return path_; }
  std::span<const MetadataEntry> metadata() const override { return metadata_; }
  std::span<const TensorEntry> tensors() const override { return tensors_; }
  const MetadataEntry* FindMetadata(std::string_view key) const override;
  const TensorEntry* FindTensor(std::string_view name) const override;
  void DoneWith(const TensorView& tensor) const override;
  absl::Status Health() const override;

 private:
  std::string path_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<MetadataEntry> metadata_;
  std::vector<TensorEntry> tensors_;
  std::unordered_map<std::string_view, size_t> metadata_index_;
  std::unordered_map<std::string, size_t> tensor_index_;
};

}  // namespace conclave::engine
