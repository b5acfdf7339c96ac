// One Generate from the caller's point of view, over as many attempts as it takes. An attempt is
// one stream to one worker (h2_call.h); there is never more than one at a time.
//
// Lifetime. An attempt holds itself until its OnDone, which comes after it was released: exactly
// once, when a read has failed, or on cancelling while none is pending.
//
// Locking. One mutex per session guards everything; the attempt and the observer are called without
// it.
// What has to be done is noted in a Todo under the lock and performed after it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loops.h"
#include "mesh/call_core.h"
#include "mesh/inference_client.h"
#include "mesh/stream_ledger.h"

namespace conclave::mesh {

class GenerateSession final : public GenerateCall,
                              public ActiveCall,
                              public std::enable_shared_from_this<GenerateSession> {
 public:
  // The events come on `loop`.
  GenerateSession(std::shared_ptr<CallCore> core, const InferenceClientOptions& options,
                  std::shared_ptr<base::EventLoop> loop, conclave::v1::GenerateRequest request,
                  base::SteadyTime deadline, std::shared_ptr<GenerateObserver> observer);
  ~GenerateSession() override;

  // First attempt, on the caller's thread; an immediate failure is told on another one.
  void Start();
  void ReadNext() override;
  void Cancel() override;
  void Sweep(base::SteadyTime now, const Fleet& fleet) override;

 private:
  class Attempt;
  enum class Phase { kWaiting, kRunning, kDone };
  struct Todo {
    std::shared_ptr<Attempt> start;
    std::shared_ptr<Attempt> read;
    std::shared_ptr<Attempt> cancel;
    std::shared_ptr<Attempt> release;
    std::optional<absl::Status> done;
  };

  // Each takes the lock, decides, performs.
  void TryAttempt();
  void OnStarted(const std::shared_ptr<Attempt>& attempt);
  void OnRead(const std::shared_ptr<Attempt>& attempt, bool ok);
  void OnAttemptDone(const std::shared_ptr<Attempt>& attempt, const absl::Status& status);

  // With the lock.
  void Choose(base::SteadyTime now, Todo* todo);
  void Begin(std::shared_ptr<const WorkerInfo> worker, int64_t tokens, Todo* todo);
  void AskForRead(Todo* todo);
  void GiveUp(const std::shared_ptr<Attempt>& attempt, std::string why, Todo* todo);
  absl::Status Outcome(const Attempt& attempt, const absl::Status& status) const;
  void AfterLoss(const Attempt& attempt, const absl::Status& status, base::SteadyTime now,
                 Todo* todo);
  void WaitForWorker(std::chrono::milliseconds first, base::SteadyTime now);
  void Finish(absl::Status status, Todo* todo);
  void EndWaiting();
  // With the lock, lets go of it.
  void Deliver(std::unique_lock<std::mutex> lock, const std::shared_ptr<Attempt>& attempt);

  // Without the lock.
  void Perform(Todo todo);

  const std::shared_ptr<CallCore> core_;
  const InferenceClientOptions options_;
  const std::shared_ptr<base::EventLoop> loop_;
  const base::SteadyTime deadline_;
  const int64_t prompt_tokens_;  // an estimate
  std::vector<uint64_t> chain_;  // prefix_memory.h; set by Start, empty when there is no choice
  std::vector<uint64_t> affinity_;

  std::mutex mutex_;
  conclave::v1::GenerateRequest request_;  // changed between attempts only
  std::shared_ptr<GenerateObserver> observer_;
  StreamLedger ledger_;
  Phase phase_ = Phase::kWaiting;
  std::shared_ptr<Attempt> attempt_;  // in kRunning
  bool wants_ = false;                // a ReadNext is unanswered
  bool delivering_ = false;           // OnEvent is running
  bool cancelled_ = false;
  std::optional<absl::Status> pending_done_;  // told when OnEvent returns

  int tries_ = 0;     // before anything was delivered
  int resumes_ = 0;   // accepted streams lost afterwards
  int failures_ = 0;  // attempts in a row without Accepted
  std::vector<std::string> avoid_;
  absl::Status last_error_;
  bool counted_waiting_ = false;
  base::SteadyTime next_try_at_{};
  base::SteadyTime wait_until_{};
};

// A guess of the prompt's length in tokens, from its bytes.
int64_t EstimatePromptTokens(const conclave::v1::GenerateRequest& request);

}  // namespace conclave::mesh
