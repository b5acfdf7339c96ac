// The figures of an engine: totals, and moving averages of the last steps. Owned by the step loop,
// which publishes a snapshot after each step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"

namespace conclave::engine {

// What one step did.
struct StepRecord {
  double ms = 0;
  int32_t decode_rows = 0;
  int32_t prefill_rows = 0;
};

class StatsKeeper final {
 public:
  void AddStep(const StepRecord& step);

  // Totals the loop counts by itself.
  EngineStats totals;

  // The totals with the averages filled in.
  EngineStats Snapshot() const;

 private:
  static constexpr size_t kWindow = 256;  // steps that averages look back on

  std::vector<StepRecord> window_;  // a ring
  size_t next_ = 0;
};

}  // namespace conclave::engine
