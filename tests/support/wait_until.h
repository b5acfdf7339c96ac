// Waiting for a condition instead of sleeping for luck.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace conclave::support {

// True as soon as `condition` holds; false after `timeout`. Asks every `pause`.
inline bool WaitUntil(const std::function<bool()>& condition,
                      std::chrono::milliseconds timeout = std::chrono::seconds(10),
                      std::chrono::milliseconds pause = std::chrono::milliseconds(5)) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(pause);
  }
  return true;
}

}  // namespace conclave::support
