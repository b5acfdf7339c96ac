// How an engine is set up. Few knobs; each has a bound that Validate checks and names.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace conclave::engine {

struct EngineOptions {
  int32_t num_threads = 0;          // 0 = one per usable core (affinity and cgroup honoured)
  int32_t context_length = 0;       // 0 = the model's own, at most 32768 unless asked for
  int32_t max_sequences = 64;       // running at once
  int32_t max_queued = 256;         // waiting; beyond it Submit says RESOURCE_EXHAUSTED
  int32_t step_token_budget = 256;  // tokens of one step: all decodes first, then prompt chunks
  int64_t kv_bytes = 0;             // 0 = enough for max_sequences × 2048 tokens, within memory
  std::string kv_type = "f16";      // of stored keys and values: "f16" or "f32" (twice the memory)
  bool prefix_cache = true;
  // "exact": a token's result depends on its own sequence alone, to the bit. "fast" gives that up
  // where it pays: expanded latent attention for long prompts (docs/decisions/0009), experts where
  // they are faster (0011), a GPU's products of many rows in fp16 (0017).
  std::string numerics = "exact";
  std::string device;  // "" = CONCLAVE_DEVICE or cpu; "auto", "cpu", "cuda"
  // Of a GPU: how much of its memory to use, 0 = what is free; and how many experts of each layer
  // to keep there, -1 = as many as fit. The processors have the others. Refused on processors
  // alone.
  int64_t vram_budget = 0;
  int32_t gpu_experts = -1;
  // "static": those of the beginning. "dynamic": those that are chosen most, which moves last bits
  // of answers while they run, so only with numerics "fast"; "" is one or the other by numerics.
  std::string expert_placement;
  // What was chosen so many tokens ago counts half in what is called hot.
  int32_t expert_half_life = 4096;
  std::string isa;  // "" = the best the machine has; "scalar", "avx2", "avx512"

  absl::Status Validate() const;
  bool moves_experts() const {
    return expert_placement.empty() ? numerics == "fast" : expert_placement == "dynamic";
  }
};

}  // namespace conclave::engine
