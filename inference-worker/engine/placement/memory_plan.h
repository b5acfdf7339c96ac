// What a model will take, before any of its weights is read: typed, printed, and held against a
// budget. The needs come from the file's header (run/model_plan.h); here is the arithmetic.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "engine/options.h"

namespace conclave::engine {

// Of one model under given options.
struct MemoryNeeds {
  std::string architecture;
  std::string device;           // "cpu", "cuda"
  int64_t file_bytes = 0;       // all tensors as they lie in the file
  int64_t weight_bytes = 0;     // as the kernels hold them
  int64_t mapped_bytes = 0;     // read in the file where it lies: page cache, counted nowhere
  int64_t scratch_bytes = 0;    // of one step, logits included
  int32_t model_context = 0;    // what the model was made for
  int64_t block_bytes_f16 = 0;  // of one KV block, all layers
  int64_t block_bytes_f32 = 0;
  int32_t block_tokens = 16;
};

struct MemoryRoom {
  int64_t budget = std::numeric_limits<int64_t>::max();
  int64_t used = 0;       // by other models
  int64_t evictable = 0;  // of `used`: would go
};

struct MemoryPlan {
  MemoryNeeds needs;
  MemoryRoom room;
  int32_t context_length = 0;  // tokens one sequence may have
  int64_t kv_bytes_per_token = 0;
  int64_t kv_bytes = 0;
  int64_t kv_tokens = 0;
  int64_t total_bytes = 0;
  bool fits = false;      // with what may be evicted
  bool fits_now = false;  // beside what is loaded

  // A setting that would make it fit, and what the model would take then.
  struct Option {
    std::string setting;
    std::string value;
    int64_t total_bytes = 0;
  };
  std::vector<Option> options;  // when it does not fit; best first

  std::string ToString() const;  // several lines
};

// The KV cache is chosen as the engine chooses it (plan.h), within what the room leaves. A model
// that cannot fit gets the plan of the smallest cache that holds one short sequence.
MemoryPlan PlanMemory(const MemoryNeeds& needs, const EngineOptions& options,
                      const MemoryRoom& room);

}  // namespace conclave::engine
