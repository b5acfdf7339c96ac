#include "worker/device_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "engine/kernels/kernels.h"

namespace conclave::worker {

DeviceWatch::DeviceWatch(const ModelHost& host,
                         std::function<void(const std::string& why)> on_failure,
                         std::chrono::milliseconds interval)
    : host_(host), on_failure_(std::move(on_failure)) {
  thread_ = std::jthread([this, interval](const std::stop_token& stop) { Run(stop, interval); });
}

DeviceWatch::~DeviceWatch() = default;

void DeviceWatch::Run(const std::stop_token& stop, std::chrono::milliseconds interval) {
  while (!stop.stop_requested()) {
    for (const auto& model : host_.List()) {
      const absl::Status error = model->status().error;
      if (base::ReasonOf(error) != engine::kDeviceFailed) continue;
      base::LogError("a device has failed, the worker ends",
                     {{"model", model->name}, {"error", error.ToString()}});
      failed_ = true;
      on_failure_(absl::StrCat("the device of model ", model->name, " has failed"));
      return;
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, interval, [] { return false; });
  }
}

}  // namespace conclave::worker
