#include "engine/placement/plan.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>

#include "absl/strings/str_cat.h"

namespace conclave::engine {
namespace {

constexpr int32_t kDefaultContextMax = 32768;
constexpr int64_t kTokensPerSequence = 2048;  // what a sequence is expected to use on average
constexpr int32_t kSmallestContext = 64;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The first number of a file like /sys/fs/cgroup/memory.max; -1 for "max" or no such file.
int64_t ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t value = -1;
  if (!(file >> value)) return -1;
  return value;
}

int64_t SystemAvailableBytes() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (file >> key >> kib >> unit) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return std::numeric_limits<int64_t>::max();
}

}  // namespace

std::string KvPlan::ToString() const {
  char mib[32];
  std::snprintf(mib, sizeof mib, "%.1f", static_cast<double>(kv_bytes) / (1 << 20));
  return absl::StrCat("kv: ", num_blocks, " blocks, ", mib, " MiB; context ", context_length);
}

absl::StatusOr<KvPlan> PlanKv(const EngineOptions& options, const KvDemand& demand) {
  KvPlan plan;
  plan.context_length = options.context_length > 0
                            ? std::min(options.context_length, demand.model_context)
                            : std::min(demand.model_context, kDefaultContextMax);
  const int64_t context_blocks = CeilDiv(plan.context_length, demand.block_tokens);
  int64_t blocks = options.kv_bytes / demand.bytes_per_block;
  if (options.kv_bytes == 0) {
    const int64_t per_sequence =
        std::min(context_blocks, CeilDiv(kTokensPerSequence, demand.block_tokens));
    blocks = std::max(per_sequence * options.max_sequences, context_blocks);
    // Half of what is left: the other half is for activations, the page cache and the neighbours.
    blocks = std::min(blocks, demand.available_bytes / 2 / demand.bytes_per_block);
  }
  blocks = std::min<int64_t>(blocks, std::numeric_limits<int32_t>::max() / demand.block_tokens);
  const int32_t fits = static_cast<int32_t>(blocks) * demand.block_tokens;
  if (fits < std::min(plan.context_length, kSmallestContext)) {
    return base::ResourceExhausted(absl::StrCat("kv_bytes: ", blocks, " blocks of ",
                                                demand.bytes_per_block,
                                                " bytes do not hold even one short sequence"));
  }
  plan.context_length = std::min(plan.context_length, fits);
  plan.num_blocks = static_cast<int32_t>(blocks);
  plan.kv_bytes = blocks * demand.bytes_per_block;
  return plan;
}

int64_t AvailableMemoryBytes() {
  int64_t available = SystemAvailableBytes();
  const int64_t limit = ReadNumber("/sys/fs/cgroup/memory.max");
  const int64_t used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (limit > 0 && used >= 0) available = std::min(available, std::max<int64_t>(limit - used, 0));
  return available;
}

}  // namespace conclave::engine
