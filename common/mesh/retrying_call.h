// A call whose answer is shown all at once, so that every failure on the way may be retried:
// Tokenize, Detokenize, Embed. Picks a worker, tries, and tries up to two more.
#pragma once

#include <grpcpp/client_context.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mesh/call_core.h"
#include "mesh/channel.h"

namespace conclave::mesh {

// Thread-safe. Lives until its end has been told.
class RetryingCall : public CallHandle,
                     public ActiveCall,
                     public std::enable_shared_from_this<RetryingCall> {
 public:
  RetryingCall(std::shared_ptr<CallCore> core, std::string model, int64_t tokens,
               base::SteadyTime deadline);
  ~RetryingCall() override = default;

  // The end is never told on this thread.
  void Start();
  void Cancel() override;
  void Sweep(base::SteadyTime now, const Fleet& fleet) override;

 protected:
  // Starts one gRPC call over the worker's link; its end goes to AttemptDone, on another stack. The
  // last attempt's leftovers are to be dropped.
  virtual void Begin(const WorkerInfo& worker, grpc::ClientContext* context) = 0;
  // Exactly once. OK: the last attempt has it all.
  virtual void End(const absl::Status& status) = 0;

  void AttemptDone(const grpc::Status& status);

 private:
  // With the lock: decides what comes next; true when `status_` is final.
  bool Choose(base::SteadyTime now);
  void WaitForWorker(base::SteadyTime now, std::chrono::milliseconds pause);
  void TryAttempt();
  void Finish();  // without the lock

  const std::shared_ptr<CallCore> core_;
  const std::string model_;
  const int64_t tokens_;
  const base::SteadyTime deadline_;

  std::mutex mutex_;
  enum class Phase { kWaiting, kRunning, kDone } phase_ = Phase::kWaiting;
  bool cancelled_ = false;
  bool counted_waiting_ = false;
  int tries_ = 0;
  std::vector<std::string> avoid_;
  base::SteadyTime next_try_at_{};
  base::SteadyTime wait_until_{};
  absl::Status status_;
  std::shared_ptr<const WorkerInfo> worker_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<OutstandingShare> share_;
};

}  // namespace conclave::mesh
