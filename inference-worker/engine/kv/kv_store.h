// The memory of keys and values: for each layer one run of blocks in the layout of the attention
// kernels. BlockPool deals in the numbers, this owns the bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "engine/kernels/kv_layout.h"
#include "engine/tensor/memory.h"

namespace conclave::engine {

// Owned by the step loop; the kernels write through layer().
class KvStore final {
 public:
  // In `memory`, that of the kernels which will write it. RESOURCE_EXHAUSTED names the size that
  // could not be had. Pages of the host are touched when first written.
  static absl::StatusOr<KvStore> Create(const KvLayout& layout, int32_t num_layers,
                                        int32_t num_blocks, Memory& memory = HostMemory());

  const KvLayout& layout() const { return layout_; }
  int32_t num_layers() const { return num_layers_; }
  int32_t num_blocks() const { return num_blocks_; }
  // Keys and values of one layer, block 0 first.
  void* layer(int32_t layer_index) {
    return memory_.data() + layer_index * layout_.block_bytes() * num_blocks_;
  }
  int64_t bytes() const { return memory_.size(); }

  // Of all layers together.
  static int64_t BytesPerBlock(const KvLayout& layout, int32_t num_layers) {
    return layout.block_bytes() * num_layers;
  }
  static int64_t BytesPerToken(const KvLayout& layout, int32_t num_layers) {
    return BytesPerBlock(layout, num_layers) / KvLayout::kBlockTokens;
  }

 private:
  KvStore(const KvLayout& layout, int32_t num_layers, int32_t num_blocks, Buffer memory);

  KvLayout layout_;
  int32_t num_layers_ = 0;
  int32_t num_blocks_ = 0;
  Buffer memory_;
};

}  // namespace conclave::engine
