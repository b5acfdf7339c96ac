// A model by its path, whatever kind of file that is.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// A folder is a Hugging Face model (hf_folder.h), a file a GGUF one (gguf.h).
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenModelFile(const std::string& path);

}  // namespace conclave::engine
