// Ends the process when a device under one of its models has failed: what a driver has lost comes
// back with a new process only. The streams have been told by then; whoever runs the process starts
// it again.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "worker/model_host.h"

namespace conclave::worker {

class DeviceWatch final {
 public:
  // `on_failure` hears it once, on the watch's thread, which may be asked to end by it. Both
  // outlive this.
  DeviceWatch(const ModelHost& host, std::function<void(const std::string& why)> on_failure,
              std::chrono::milliseconds interval = std::chrono::milliseconds(500));
  ~DeviceWatch();

  bool failed() const { return failed_.load(); }

 private:
  void Run(const std::stop_token& stop, std::chrono::milliseconds interval);

  const ModelHost& host_;
  const std::function<void(const std::string& why)> on_failure_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last
};

}  // namespace conclave::worker
