// Reads GGUF, versions 2 and 3, little-endian. A model file is somebody else's input: every length
// and count is held against the bytes that are left before anything is allocated or read, and what
// breaks a rule is refused with the field and its place:
//   "tiny.gguf: gguf: tensor[3] (blk.0.attn_q.weight).offset: beyond the end of the file at offset
//   812"
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// Maps the file. INVALID_ARGUMENT for a broken file; UNIMPLEMENTED for one part of a split model;
// else as MappedFile::Open.
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGguf(const std::string& path);

// The same over bytes in memory that outlive the source; `name` stands for the path.
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGgufBytes(std::span<const std::byte> bytes,
                                                                 const std::string& name);

}  // namespace conclave::engine
