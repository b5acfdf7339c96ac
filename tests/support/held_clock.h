// A clock that moves when a test says so. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>

#include "base/clock.h"

namespace conclave {

class HeldClock final : public base::Clock {
 public:
  base::SteadyTime Now() const override { return base::SteadyTime() + passed_.load(); }
  int64_t UnixMillis() const override { return 1'767'323'045'678 + passed_.load().count(); }
  void Advance(std::chrono::milliseconds time) { passed_ = passed_.load() + time; }

 private:
  std::atomic<std::chrono::milliseconds> passed_{std::chrono::hours(1)};
};

}  // namespace conclave
