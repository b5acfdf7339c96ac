#include "engine/kv/kv_store.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace conclave::engine {

absl::StatusOr<KvStore> KvStore::Create(const KvLayout& layout, int32_t num_layers,
                                        int32_t num_blocks, Memory& device) {
  const int64_t bytes = BytesPerBlock(layout, num_layers) * num_blocks;
  absl::StatusOr<Buffer> memory = device.Allocate(bytes);
  if (!memory.ok()) {
    return base::Annotate(memory.status(), absl::StrCat("kv: ", num_blocks, " blocks of ",
                                                        KvLayout::kBlockTokens, " tokens"));
  }
  return KvStore(layout, num_layers, num_blocks, *std::move(memory));
}

KvStore::KvStore(const KvLayout& layout, int32_t num_layers, int32_t num_blocks, Buffer memory)
    : layout_(layout),
      num_layers_(num_layers),
      num_blocks_(num_blocks),
      memory_(std::move(memory)) {}

}  // namespace conclave::engine
