// How many retries a caller may add to the load: a tenth of its requests, with a small reserve so
// that quiet times can retry too. A token bucket in tenths. Thread-safe.
#pragma once

#include <algorithm>
#include <mutex>

namespace conclave::mesh {

class RetryBudget final {
 public:
  void OnRequest() {
    const std::lock_guard lock(mutex_);
    tenths_ = std::min(kTenthsMax, tenths_ + 1);
  }
  // False: the fleet has trouble enough.
  bool TryTake() {
    const std::lock_guard lock(mutex_);
    if (tenths_ < 10) return false;
    tenths_ -= 10;
    return true;
  }

 private:
  static constexpr int kTenthsMax = 200;  // 20 retries in a row
  std::mutex mutex_;
  int tenths_ = kTenthsMax;
};

}  // namespace conclave::mesh
