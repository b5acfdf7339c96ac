// How much KV an engine gets, decided once when a model is opened, from the options and from what
// the machine has left.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/options.h"

namespace conclave::engine {

struct KvPlan {
  int32_t context_length = 0;  // tokens one sequence may have
  int32_t num_blocks = 0;      // enough for one whole context
  int64_t kv_bytes = 0;

  std::string ToString() const;  // "kv: 512 blocks of 16 tokens, 96.0 MiB; context 4096"
};

struct KvDemand {
  int32_t model_context = 0;    // what the model was made for
  int64_t bytes_per_block = 0;  // all layers
  int32_t block_tokens = 16;
  int64_t available_bytes = 0;  // memory still free, weights already in place
};

// RESOURCE_EXHAUSTED when not even one short sequence fits; names the option that would help.
absl::StatusOr<KvPlan> PlanKv(const EngineOptions& options, const KvDemand& demand);

// What this process may still take: the system's available memory, cut to the cgroup's limit.
int64_t AvailableMemoryBytes();

}  // namespace conclave::engine
