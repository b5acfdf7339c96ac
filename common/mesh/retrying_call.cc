#include "mesh/retrying_call.h"

#include <algorithm>

#include "mesh/grpc_status.h"
#include "mesh/picker.h"

namespace conclave::mesh {
namespace {

using std::chrono::milliseconds;

constexpr int kRetriesMax = 2;
constexpr milliseconds kWorkerWait{2'000};

base::SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

RetryingCall::RetryingCall(std::shared_ptr<CallCore> core, std::string model, int64_t tokens,
                           base::SteadyTime deadline)
    : core_(std::move(core)), model_(std::move(model)), tokens_(tokens), deadline_(deadline) {}

void RetryingCall::Start() {
  core_->Register(shared_from_this());
  core_->budget().OnRequest();
  bool final = false;
  {
    const std::lock_guard lock(mutex_);
    WaitForWorker(Now(), milliseconds(0));
    final = Choose(Now());
  }
  if (final) {
    core_->tasks().Post([self = shared_from_this()] { self->Finish(); });
  }
}

void RetryingCall::Cancel() {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_ || phase_ == Phase::kDone) return;
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
    if (phase_ != Phase::kWaiting) return;
  }
  core_->tasks().Post([self = shared_from_this()] { self->TryAttempt(); });
}

void RetryingCall::Sweep(base::SteadyTime now, const Fleet& fleet) {
  bool final = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kWaiting && now >= next_try_at_) final = Choose(now);
    if (phase_ == Phase::kRunning && context_ != nullptr) {
      const WorkerInfo* known = fleet.FindWorker(worker_->worker_id);
      const bool lost = known != nullptr &&
                        (known->health == WorkerHealth::kDead || known->epoch != worker_->epoch);
      // Its AttemptDone sees CANCELLED that nobody asked for, which is a lost worker.
      if (lost) context_->TryCancel();
    }
  }
  if (final) Finish();
}

void RetryingCall::TryAttempt() {
  bool final = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kWaiting) final = Choose(Now());
  }
  if (final) Finish();
}

bool RetryingCall::Choose(base::SteadyTime now) {
  const auto end = [&](absl::Status status) {
    status_ = std::move(status);
    phase_ = Phase::kDone;
    return true;
  };
  if (cancelled_) return end(absl::CancelledError("cancelled"));
  if (now >= deadline_) return end(absl::DeadlineExceededError("no worker before the deadline"));
  const PickRequest pick{.model = model_,
                         .prompt_tokens = tokens_,
                         .revision = {},
                         .avoid = avoid_,
                         .cached_tokens = {},
                         .dice = core_->Dice()};
  absl::StatusOr<std::shared_ptr<const WorkerInfo>> worker = Pick(*core_->fleet(), pick);
  if (!worker.ok()) {
    if (!absl::IsUnavailable(worker.status()) || now >= wait_until_ || core_->stopping()) {
      return end(status_.ok() ? worker.status() : status_);
    }
    next_try_at_ = now;
    return false;
  }
  if (std::exchange(counted_waiting_, false)) core_->waiting.fetch_sub(1);
  phase_ = Phase::kRunning;
  worker_ = *std::move(worker);
  context_ = std::make_unique<grpc::ClientContext>();
  context_->set_deadline(AsSystemTime(deadline_));
  share_ = std::make_unique<OutstandingShare>(worker_->outstanding, tokens_);
  Begin(*worker_, context_.get());
  return false;
}

void RetryingCall::WaitForWorker(base::SteadyTime now, milliseconds pause) {
  phase_ = Phase::kWaiting;
  wait_until_ = std::min(now + kWorkerWait, deadline_);
  next_try_at_ = now + pause;
  if (!std::exchange(counted_waiting_, true)) core_->waiting.fetch_add(1);
}

void RetryingCall::AttemptDone(const grpc::Status& status) {
  bool final = true;
  {
    const std::lock_guard lock(mutex_);
    const base::SteadyTime now = Now();
    status_ = FromGrpc(status, context_.get());
    share_ = nullptr;
    phase_ = Phase::kDone;
    if (cancelled_) {
      status_ = absl::CancelledError("cancelled");
    } else if (!status_.ok() && now < deadline_ && tries_ < kRetriesMax &&
               MayRetry(status_, *core_->fleet()) && core_->budget().TryTake()) {
      ++tries_;
      core_->retries.Add();
      avoid_.push_back(worker_->worker_id);
      const bool others = HasOther(*core_->fleet(), avoid_);
      WaitForWorker(now, others ? milliseconds(0) : Backoff(tries_ - 1, core_->Dice()));
      core_->tasks().At(next_try_at_, [self = shared_from_this()] { self->TryAttempt(); });
      final = false;
    }
  }
  if (final) Finish();
}

void RetryingCall::Finish() {
  if (std::exchange(counted_waiting_, false)) core_->waiting.fetch_sub(1);
  const std::shared_ptr<RetryingCall> self = shared_from_this();
  End(status_);
  core_->Unregister(this);
}

}  // namespace conclave::mesh
