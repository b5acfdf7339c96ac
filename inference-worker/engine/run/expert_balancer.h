// Keeps the experts that are chosen most on the device: counts what steps choose, and between steps
// has experts change places, a few at a time. Owned by the step loop.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/kernels/expert_mover.h"
#include "engine/placement/expert_hotness.h"

namespace conclave::engine {

struct BalancerOptions {
  bool moves = false;        // false: counts only
  int64_t half_life = 4096;  // tokens
};

class ExpertBalancer final {
 public:
  // `mover` may be none, and outlives this.
  ExpertBalancer(ExpertMover* mover, const BalancerOptions& options);

  // After a step of so many rows whose results have been read. UNAVAILABLE when the device has
  // failed; nothing else goes wrong that steps would notice.
  absl::Status AfterStep(int64_t rows);

  const ExpertStats& stats() const { return stats_; }
  // Empty where nothing is shared. `version` changes with it.
  ExpertTable table() const { return {.device = device_, .hotness = hotness_.values()}; }
  int64_t version() const { return version_; }

 private:
  absl::Status Count();
  absl::Status Arrive();
  absl::Status Move();
  void Refused(const absl::Status& status);

  ExpertMover* const mover_;
  const BalancerOptions options_;
  const int64_t interval_;  // tokens between two counts
  ExpertHotness hotness_;
  std::vector<std::vector<int32_t>> device_;
  std::vector<ExpertExchange> planned_;
  size_t next_ = 0;         // of planned_
  int64_t uncounted_ = 0;   // tokens
  int64_t unplanned_ = 0;   // tokens since the last plan
  int64_t plan_after_ = 0;  // tokens; more after the driver refused
  int64_t version_ = 0;
  ExpertStats stats_;
};

}  // namespace conclave::engine
