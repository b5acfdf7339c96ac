// What others want of a running executor. Set by any thread, looked at between two events.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace conclave::store {

class RunControl final {
 public:
  void Cancel() { Set(&cancelling_); }  // the caller wants the run cancelled
  void LoseLease() { Set(&lost_); }     // the run is not ours any more
  void Stop() { Set(&stopping_); }      // write what is there and give the run back
  void Abandon() { Set(&abandoned_); }  // write nothing more, as if the process had died

  bool cancelling() const { return Get(cancelling_); }
  bool lost() const { return Get(lost_); }
  bool stopping() const { return Get(stopping_); }
  bool abandoned() const { return Get(abandoned_); }

  // Sleeps, but no longer than until somebody wants something that ends waiting.
  void Wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time,
                      [this] { return cancelling_ || lost_ || stopping_ || abandoned_; });
  }

 private:
  void Set(bool* flag) {
    {
      const std::lock_guard lock(mutex_);
      *flag = true;
    }
    changed_.notify_all();
  }
  bool Get(const bool& flag) const {
    const std::lock_guard lock(mutex_);
    return flag;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelling_ = false;
  bool lost_ = false;
  bool stopping_ = false;
  bool abandoned_ = false;
};

}  // namespace conclave::store
