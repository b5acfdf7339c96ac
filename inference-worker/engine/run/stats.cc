#include "engine/run/stats.h"

#include <algorithm>

namespace conclave::engine {

void StatsKeeper::AddStep(const StepRecord& step) {
  ++totals.steps_total;
  if (window_.size() < kWindow) {
    window_.push_back(step);
  } else {
    window_[next_] = step;
  }
  next_ = (next_ + 1) % kWindow;
}

EngineStats StatsKeeper::Snapshot() const {
  EngineStats stats = totals;
  if (window_.empty()) return stats;
  std::vector<double> ms;
  double decode_ms = 0, prefill_ms = 0, decoded = 0, prefilled = 0;
  for (const StepRecord& step : window_) {
    ms.push_back(step.ms);
    // A mixed step's time is shared out by rows: neither rate is charged for the other's work.
    const double rows = step.decode_rows + step.prefill_rows;
    if (rows == 0) continue;
    decode_ms += step.ms * step.decode_rows / rows;
    prefill_ms += step.ms * step.prefill_rows / rows;
    decoded += step.decode_rows;
    prefilled += step.prefill_rows;
  }
  const auto middle = ms.begin() + static_cast<ptrdiff_t>(ms.size() / 2);
  std::nth_element(ms.begin(), middle, ms.end());
  stats.step_ms_p50 = *middle;
  if (decode_ms > 0) stats.decode_tps = decoded / decode_ms * 1000;
  if (prefill_ms > 0) stats.prefill_tps = prefilled / prefill_ms * 1000;
  return stats;
}

}  // namespace conclave::engine
