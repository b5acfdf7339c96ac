// Which worker has lately been sent which beginnings of prompts: the caller's own guess at the
// workers' prefix caches, so that a conversation goes back to where its KV still is. Needs no
// tokenizer: the prompt's bytes are hashed in blocks of 512, each hash chained to the one before,
// so that equal chains mean equal beginnings. A guess that is wrong costs one slower prefill,
// nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "conclave/v1/inference.pb.h"

namespace conclave::mesh {

// Thread-safe.
class PrefixMemory final {
 public:
  static constexpr size_t kBlockBytes = 512;
  static constexpr size_t kBlocksMax = 2048;  // of one prompt: its first mebibyte

  // Two generations of this many blocks each, 16 bytes a block and the table's overhead: 16 MB.
  explicit PrefixMemory(size_t blocks_max = size_t{1} << 18) : generation_max_(blocks_max / 2) {}

  // Hashes of the prompt's whole blocks. What else decides the KV comes first: model, tenant and
  // cache salt, tools and template variables. Valid within this process only.
  static std::vector<uint64_t> Chain(const conclave::v1::GenerateRequest& request);

  // One hash of the request's affinity key, model and tenant; none without a key. It is remembered
  // like a chain.
  static std::vector<uint64_t> Affinity(const conclave::v1::GenerateRequest& request);

  // For each worker that has seen at least one block: how many tokens of this prompt it should
  // have. Only the given process (worker id and epoch) counts: a restart empties a cache. Who has
  // seen the affinity is taken to have a block at least.
  std::vector<std::pair<std::string, int64_t>> Match(const std::vector<uint64_t>& chain,
                                                     const std::vector<uint64_t>& affinity = {});

  void Remember(const std::vector<uint64_t>& chain, const std::string& worker_id, uint64_t epoch);

 private:
  static constexpr int kSlots = 64;
  using Generation = std::unordered_map<uint64_t, uint64_t>;  // block → bit per slot

  int SlotOf(const std::string& worker_id, uint64_t epoch);  // with the lock
  uint64_t Find(uint64_t block);                             // with the lock

  const size_t generation_max_;
  std::mutex mutex_;
  // The younger fills; when it is full it becomes the older, and what was not asked for since is
  // gone.
  Generation young_;
  Generation old_;
  struct Slot {
    std::string worker_id;
    uint64_t epoch = 0;
  };
  std::vector<Slot> slots_;
};

}  // namespace conclave::mesh
