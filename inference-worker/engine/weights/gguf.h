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

// Maps the file and, when it is a shard of a split model (gguf_split.h), all the others beside it.
// INVALID_ARGUMENT for a broken file or a shard that does not belong; else as MappedFile::Open,
// NOT_FOUND for a missing shard among it.
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGguf(const std::string& path);

// The same over bytes in memory that outlive the source; `name` stands for the path.
struct GgufBytes {
  std::span<const std::byte> bytes;
  std::string name;
};
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGgufBytes(std::span<const std::byte> bytes,
                                                                 const std::string& name);
// All shards of a model, in order; at least one.
absl::StatusOr<std::shared_ptr<const ModelSource>> OpenGgufShards(
    std::span<const GgufBytes> shards);

}  // namespace conclave::engine
