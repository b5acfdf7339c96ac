// What the calls of one client share: the fleet, the retry budget, the thread for waits and sweeps,
// and the list of calls in flight. A sweep visits them every 100 ms while there are any, and at
// once when the fleet changes while somebody waits for a worker.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "mesh/discovery.h"
#include "mesh/prefix_memory.h"
#include "mesh/retry_budget.h"
#include "mesh/task_thread.h"

namespace conclave::mesh {

// A call that is visited by the sweep.
class ActiveCall {
 public:
  virtual ~ActiveCall() = default;
  virtual void Sweep(base::SteadyTime now, const Fleet& fleet) = 0;
  virtual void Cancel() = 0;
};

// Thread-safe. Shared by the client and its calls; the client calls Stop before it goes.
class CallCore final : public std::enable_shared_from_this<CallCore> {
 public:
  CallCore(Discovery* discovery, base::Metrics* metrics);
  void Start();  // once, after make_shared

  // Cancels every call, waits up to 5 s until they are gone, ends the thread.
  void Stop();

  void Register(const std::shared_ptr<ActiveCall>& call);
  void Unregister(const ActiveCall* call);

  Discovery& discovery() { return *discovery_; }
  // The present snapshot; an empty one after Stop, when discovery may be gone.
  std::shared_ptr<const Fleet> fleet() const;
  RetryBudget& budget() { return budget_; }
  PrefixMemory& prefixes() { return prefixes_; }
  TaskThread& tasks() { return tasks_; }
  bool stopping() const { return stopping_.load(); }
  // Random bits for ties and jitter.
  uint64_t Dice();

  // Calls that wait for a worker.
  std::atomic<int> waiting{0};

  base::Counter retries;
  base::Counter migrations_ok;
  base::Counter migrations_failed;

 private:
  void SweepAll();
  void ArmSweep();  // with the lock

  Discovery* const discovery_;
  RetryBudget budget_;
  PrefixMemory prefixes_;
  TaskThread tasks_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> dice_;
  std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_map<const ActiveCall*, std::shared_ptr<ActiveCall>> active_;
  bool sweep_armed_ = false;
  std::unique_ptr<Discovery::Subscription> subscription_;
};

// One attempt's weight on a worker, taken back when it ends (what a report has covered since is the
// report's to count). `tokens`: prompt tokens it will have to compute.
class OutstandingShare final {
 public:
  OutstandingShare(std::shared_ptr<OutstandingWork> work, int64_t tokens)
      : work_(std::move(work)), tokens_(tokens), reports_(work_->reports.load()) {
    work_->calls.fetch_add(1);
    work_->unreported_calls.fetch_add(1);
    work_->unreported_tokens.fetch_add(tokens_);
  }
  ~OutstandingShare() {
    work_->calls.fetch_sub(1);
    if (work_->reports.load() != reports_) return;
    work_->unreported_calls.fetch_sub(1);
    work_->unreported_tokens.fetch_sub(tokens_);
  }
  OutstandingShare(const OutstandingShare&) = delete;
  OutstandingShare& operator=(const OutstandingShare&) = delete;

 private:
  const std::shared_ptr<OutstandingWork> work_;
  const int64_t tokens_;
  const uint64_t reports_;
};

// The worker is gone, or as good as gone: another one may be tried.
bool IsLost(const absl::Status& status);
// Before anything was delivered: lost, or too busy with another usable worker at hand.
bool MayRetry(const absl::Status& status, const Fleet& fleet);
// A usable worker that is not in `avoid` (worker ids).
bool HasOther(const Fleet& fleet, const std::vector<std::string>& avoid);
// 50 ms, 100 ms, … 500 ms, with jitter of a fifth.
std::chrono::milliseconds Backoff(int failures, uint64_t dice);
// gRPC deadlines are dates.
std::chrono::system_clock::time_point AsSystemTime(base::SteadyTime when);

}  // namespace conclave::mesh
