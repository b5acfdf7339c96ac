// Keeps one child process running and gives it one job at a time: a line to its stdin, lines from
// its stdout until the job says that it has enough. One thread each; the child's stderr goes to the
// model's log. A child that ends is started again after a pause that grows.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "backends/child_process.h"
#include "backends/model_log.h"
#include "base/clock.h"

namespace conclave::backends {

// One request to a child. All but the flags belongs to the runner's thread once it is submitted.
class ChildJob {
 public:
  enum class Next { kMore, kPause, kDone };

  virtual ~ChildJob() = default;
  // What the child gets, without the line feed.
  virtual const std::string& line() const = 0;
  // What it gets when the job is cancelled; empty = nothing, it is waited for a moment.
  virtual std::string cancel_line() const { return ""; }
  // One line of its answer. After kDone nothing more is told; a failure of the answer's own is an
  // answer too.
  virtual Next OnLine(std::string_view line) = 0;
  // Instead of kDone: the child ended, fell silent, or the runner stops.
  virtual void OnFail(const absl::Status& status) = 0;
  // Takes up a pause.
  virtual Next GoOn() { return Next::kMore; }

  std::atomic<bool> cancelled{false};
  std::atomic<bool> resumed{false};  // GoOn is wanted
  base::SteadyTime deadline{};
};

struct RunnerOptions {
  ChildSpec child;
  int32_t processes = 1;
  int32_t queued_max = 64;
  bool restart = true;
  std::chrono::milliseconds request_timeout{60'000};  // with the time in the queue
  std::chrono::milliseconds cancel_grace{2'000};
  std::chrono::milliseconds stop_grace{2'000};
  std::chrono::milliseconds restart_pause{100};  // doubles with every failure in a row
  int64_t line_bytes_max = int64_t{1} << 20;
};

// The children of one model and the queue before them. Thread-safe.
class ChildPool final {
 public:
  ChildPool(RunnerOptions options, std::shared_ptr<ModelLog> log);
  // Ends what is left with UNAVAILABLE and kills the children.
  ~ChildPool();
  ChildPool(const ChildPool&) = delete;
  ChildPool& operator=(const ChildPool&) = delete;

  // Until the first child runs. The error of starting it.
  absl::Status WaitUntilStarted(std::chrono::milliseconds timeout);
  // RESOURCE_EXHAUSTED: the queue is full.
  absl::Status Submit(std::shared_ptr<ChildJob> job);
  // After a flag of a job was set.
  void Wake();
  // UNAVAILABLE while the children keep ending, or have ended and are not started again.
  absl::Status health() const;
  int32_t waiting() const;

 private:
  class Runner;
  std::shared_ptr<ChildJob> Take();
  void Sweep();  // the queue: who was cancelled or has waited too long
  void NoteStarted(const absl::Status& status);
  void NoteEnded(const std::string& how);
  void NoteAnswered();

  const RunnerOptions options_;
  const std::shared_ptr<ModelLog> log_;
  mutable std::mutex mutex_;
  std::condition_variable started_;
  std::deque<std::shared_ptr<ChildJob>> queue_;
  bool first_known_ = false;
  absl::Status first_;
  int32_t running_ = 0;
  int32_t failures_ = 0;  // in a row
  std::string last_failure_;
  bool stopping_ = false;
  std::vector<std::unique_ptr<Runner>> runners_;
};

}  // namespace conclave::backends
