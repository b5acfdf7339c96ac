// Opens the folder of a Hugging Face model as if it were a GGUF file of the same model: the same
// keys, names, shapes and order of rows, so that architectures bind from either. config.json says
// what it is; weights come from safetensors in F32, F16, BF16 and the quantisations of
// hf/layers.h; tokenizer.json, tokenizer_config.json, chat_template.jinja and
// generation_config.json are read where they are there.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "engine/weights/directory.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// Weights that lie in the files as they are wanted stay there; others are made one tensor at a time
// when they are bound. INVALID_ARGUMENT and UNIMPLEMENTED name the file and the field or tensor.
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenHfFolder(const std::string& folder);

// The same without the files of text: a parsed config.json and the tensors it speaks of.
struct HfCheckpoint {
  std::string name;  // stands for the folder
  base::JsonValue config;
  std::shared_ptr<const ModelSource> tensors;
};
absl::StatusOr<std::shared_ptr<const ModelSource>> MapHfCheckpoint(const HfCheckpoint& checkpoint);

// GGUF's pooling_type of a folder of sentence-transformers, by modules.json and the pooling's own
// config.json; absent where there is none. UNIMPLEMENTED for pooling other than mean, cls and last,
// and for a layer after it (hf_pooling.cc).
absl::StatusOr<std::optional<int64_t>> ReadHfPooling(const std::string& folder);

// The metadata of the files beside config.json and the weights (hf_metadata.cc).
absl::Status ReadHfTextFiles(const std::string& folder, const base::JsonValue& config,
                             DirectorySource* metadata);

}  // namespace conclave::engine
