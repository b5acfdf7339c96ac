// Reads safetensors: one file, or the shards an index names. Bounds-checked like gguf.h; a pickled
// checkpoint (.bin, .pt) is never read.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// `path` is a .safetensors file, an index ("….safetensors.index.json"), or a folder that holds
// model.safetensors or model.safetensors.index.json. Strings of "__metadata__" become metadata; a
// config.json beside it is not read here.
// INVALID_ARGUMENT "<path>: safetensors: <field>: <why>"; else as MappedFile::Open.
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenSafetensors(const std::string& path);

// One file's bytes, which outlive the source; `name` stands for the path.
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenSafetensorsBytes(
    std::span<const std::byte> bytes, const std::string& name);

}  // namespace conclave::engine
