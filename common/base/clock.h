// The time source that tests can hold. Durations come from the steady clock, dates from the system
// clock; nothing in the code reads either directly where a test must control it.
#pragma once

#include <chrono>
#include <cstdint>

namespace conclave::base {

using SteadyTime = std::chrono::steady_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyTime Now() const = 0;
  // Milliseconds since the Unix epoch.
  virtual int64_t UnixMillis() const = 0;

  int64_t UnixSeconds() const { return UnixMillis() / 1000; }

  // The machine's own clocks. Thread-safe, lives for ever.
  static const Clock& System();
};

// Milliseconds between two moments, as a double for metrics and timings.
inline double MillisBetween(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace conclave::base
