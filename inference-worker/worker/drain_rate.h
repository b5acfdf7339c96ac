// How fast requests come to an end, so that a refused one can be told when to come back.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>

#include "base/clock.h"

namespace conclave::worker {

// Thread-safe.
class DrainRate final {
 public:
  explicit DrainRate(const base::Clock& clock = base::Clock::System()) : clock_(clock) {}

  void Finished() {
    const std::lock_guard lock(mutex_);
    const base::SteadyTime now = clock_.Now();
    ends_.push_back(now);
    Forget(now);
  }

  // When `waiting` requests will have gone at the rate of the last minute: 1 s to 60 s; without any
  // end in that minute 5 s.
  std::chrono::milliseconds RetryAfter(int64_t waiting) {
    const std::lock_guard lock(mutex_);
    const base::SteadyTime now = clock_.Now();
    Forget(now);
    if (ends_.size() < 2) return std::chrono::seconds(5);
    const double window_s = std::max(1e-3, base::MillisBetween(ends_.front(), now) / 1e3);
    const double rate = static_cast<double>(ends_.size()) / window_s;
    const double wait_ms = 1e3 * static_cast<double>(std::max<int64_t>(waiting, 1)) / rate;
    return std::chrono::milliseconds(static_cast<int64_t>(std::clamp(wait_ms, 1e3, 60e3)));
  }

 private:
  static constexpr size_t kEndsMax = 256;

  void Forget(base::SteadyTime now) {
    while (ends_.size() > kEndsMax) ends_.pop_front();
    while (!ends_.empty() && now - ends_.front() > std::chrono::seconds(60)) ends_.pop_front();
  }

  const base::Clock& clock_;
  std::mutex mutex_;
  std::deque<base::SteadyTime> ends_;
};

}  // namespace conclave::worker
