// How keys and values lie in memory. The block pool deals in block numbers; only the kernels look
// inside a block, so who shares, copies or spills blocks moves block_bytes() at block_offset().
//
// One layer's memory is [block][kv_head] of one K tile followed by one V tile:
//   K tile [head_dim][block_tokens]  transposed, so that scores of a block need no sum across lanes
//   V tile [block_tokens][value_dim padded to 16], none where values lie in the keys
#pragma once

#include <cstdint>

namespace conclave::engine {

enum class KvType { kF16, kF32 };

struct KvLayout {
  static constexpr int kBlockTokens = 16;

  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;   // of queries and keys
  int32_t value_dim = 0;  // of values and of the output
  KvType type = KvType::kF16;
  // The value of a token is the first value_dim elements of its key, and there is no V tile: the
  // latent of multi-head latent attention (DeepSeek-V2, arXiv 2405.04434).
  bool values_in_keys = false;

  int64_t element_bytes() const { return type == KvType::kF16 ? 2 : 4; }
  int64_t padded_value_dim() const { return (int64_t{value_dim} + 15) / 16 * 16; }
  int64_t key_tile_bytes() const { return int64_t{head_dim} * kBlockTokens * element_bytes(); }
  int64_t value_tile_bytes() const {
    return values_in_keys ? 0 : padded_value_dim() * kBlockTokens * element_bytes();
  }
  int64_t head_bytes() const { return key_tile_bytes() + value_tile_bytes(); }
  // Of one block in one layer.
  int64_t block_bytes() const { return head_bytes() * num_kv_heads; }
  int64_t block_offset(int64_t block) const { return block * block_bytes(); }
};

// One sequence's part of a batch: consecutive rows of the batch's q, k and v.
struct AttentionSpan {
  const int32_t* blocks = nullptr;  // block numbers in order, covering position + rows tokens
  int32_t position = 0;             // of the first row: tokens already in the blocks
  int32_t first_row = 0;            // in the batch
  int32_t rows = 0;                 // new tokens
};

}  // namespace conclave::engine
