#include "mesh/generate_session.h"

#include <algorithm>

#include "base/log.h"
#include "mesh/h2_call.h"
#include "mesh/picker.h"
#include "mesh/worker_link.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

// A stream whose last Finished was delivered has this long to end by itself.
constexpr milliseconds kEndGrace{1'000};
// A worker that discovery calls dead keeps a stream that has been silent for less than this.
constexpr milliseconds kDeadSilence{1'500};

base::SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

int64_t EstimatePromptTokens(const pb::GenerateRequest& request) {
  constexpr int64_t kBytesPerToken = 4;
  switch (request.prompt_case()) {
    case pb::GenerateRequest::kTokenIds:
      return request.token_ids().ids_size();
    case pb::GenerateRequest::kText:
      return static_cast<int64_t>(request.text().size()) / kBytesPerToken;
    case pb::GenerateRequest::kChat:
      return static_cast<int64_t>(request.chat().ByteSizeLong()) / kBytesPerToken;
    case pb::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return 0;
}

// One stream to one worker. The flags are guarded by the session's mutex.
class GenerateSession::Attempt final : public H2Call {
 public:
  Attempt(std::shared_ptr<GenerateSession> session, std::shared_ptr<const WorkerInfo> worker,
          int64_t tokens)
      : H2Call(session->loop_),
        worker_(std::move(worker)),
        session_(std::move(session)),
        share_(std::in_place, worker_->outstanding, tokens) {}

  void Start(const pb::GenerateRequest& request, base::SteadyTime deadline) {
    StartCall(worker_->link->streams(),
              {.path = "/conclave.v1.Inference/Generate", .message = request.SerializeAsString()},
              deadline);
  }

  const WorkerInfo& worker() const { return *worker_; }
  pb::GenerateEvent& event() { return event_; }

  bool started = false;
  bool reading = false;
  bool released = false;
  bool accepted = false;          // this worker has said so
  base::SteadyTime read_since{};  // while reading
  absl::Status failure;           // told by the worker's Failed, or why we broke off

 private:
  std::shared_ptr<Attempt> self() { return std::static_pointer_cast<Attempt>(shared_from_this()); }

  bool OnMessage(std::string_view bytes) override {
    if (!event_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
    session_->OnRead(self(), true);
    return true;
  }
  void OnNoMessage() override { session_->OnRead(self(), false); }
  void OnDone(const absl::Status& status) override {
    share_.reset();
    session_->OnAttemptDone(self(), status);
  }

  const std::shared_ptr<const WorkerInfo> worker_;
  const std::shared_ptr<GenerateSession> session_;
  std::optional<OutstandingShare> share_;  // gone before the end is told
  pb::GenerateEvent event_;
};

GenerateSession::GenerateSession(std::shared_ptr<CallCore> core,
                                 const InferenceClientOptions& options,
                                 std::shared_ptr<base::EventLoop> loop, pb::GenerateRequest request,
                                 base::SteadyTime deadline,
                                 std::shared_ptr<GenerateObserver> observer)
    : core_(std::move(core)),
      options_(options),
      loop_(std::move(loop)),
      deadline_(deadline),
      prompt_tokens_(EstimatePromptTokens(request)),
      request_(std::move(request)),
      observer_(std::move(observer)),
      ledger_(request_) {}

GenerateSession::~GenerateSession() = default;

void GenerateSession::Start() {
  core_->Register(shared_from_this());
  core_->budget().OnRequest();
  if (core_->fleet()->workers.size() > 1) {
    chain_ = PrefixMemory::Chain(request_);
    affinity_ = PrefixMemory::Affinity(request_);
  }
  Todo todo;
  {
    const std::lock_guard lock(mutex_);
    WaitForWorker(options_.first_wait_max, Now());
    Choose(Now(), &todo);
  }
  if (todo.done) {
    // The caller has no handle yet: tell it later.
    core_->tasks().Post([self = shared_from_this(), late = std::move(todo)]() mutable {
      self->Perform(std::move(late));
    });
    return;
  }
  Perform(std::move(todo));
}

void GenerateSession::ReadNext() {
  Todo todo;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kDone || wants_) return;
    wants_ = true;
    if (!delivering_) AskForRead(&todo);
  }
  Perform(std::move(todo));
}

void GenerateSession::Cancel() {
  Todo todo;
  bool waiting = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kDone || cancelled_) return;
    cancelled_ = true;
    waiting = phase_ == Phase::kWaiting;
    if (attempt_ != nullptr) GiveUp(attempt_, "", &todo);
  }
  Perform(std::move(todo));
  // OnDone must not run inside the caller's Cancel.
  if (waiting) core_->tasks().Post([self = shared_from_this()] { self->TryAttempt(); });
}

void GenerateSession::Sweep(base::SteadyTime now, const Fleet& fleet) {
  Todo todo;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kWaiting && now >= next_try_at_) Choose(now, &todo);
    if (phase_ == Phase::kRunning && attempt_ != nullptr && !todo.start) {
      const Attempt& a = *attempt_;
      const milliseconds silent = a.reading
                                      ? std::chrono::duration_cast<milliseconds>(now - a.read_since)
                                      : milliseconds(0);
      const WorkerInfo* known = fleet.FindWorker(a.worker().worker_id);
      const uint64_t epoch = a.accepted ? ledger_.epoch() : a.worker().epoch;
      if (now > deadline_) {
        GiveUp(attempt_, "the deadline has passed", &todo);
      } else if (silent > options_.silence_max || (ledger_.complete() && silent > kEndGrace)) {
        GiveUp(attempt_, "the worker has fallen silent", &todo);
      } else if (a.reading && known != nullptr && known->epoch != epoch &&
                 known->health == WorkerHealth::kFresh && silent > kEndGrace) {
        GiveUp(attempt_, "the worker was restarted", &todo);
      } else if (known != nullptr && known->health == WorkerHealth::kDead &&
                 silent > kDeadSilence) {
        GiveUp(attempt_, "the worker is dead", &todo);
      }
    }
  }
  Perform(std::move(todo));
}

void GenerateSession::TryAttempt() {
  Todo todo;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kWaiting) Choose(Now(), &todo);
  }
  Perform(std::move(todo));
}

void GenerateSession::Choose(base::SteadyTime now, Todo* todo) {
  if (cancelled_) return Finish(absl::CancelledError("cancelled"), todo);
  if (now >= deadline_) {
    return Finish(absl::DeadlineExceededError("the deadline passed while waiting for a worker"),
                  todo);
  }
  const PickRequest pick{.model = request_.model(),
                         .prompt_tokens = prompt_tokens_,
                         .revision = ledger_.model_revision(),
                         .avoid = avoid_,
                         .cached_tokens = core_->prefixes().Match(chain_, affinity_),
                         .dice = core_->Dice()};
  absl::StatusOr<std::shared_ptr<const WorkerInfo>> worker = Pick(*core_->fleet(), pick);
  if (worker.ok()) {
    const int64_t tokens = MissingTokens((*worker)->worker_id, pick);
    return Begin(*std::move(worker), tokens, todo);
  }
  // While a lost worker restarts it may look as if nobody had ever known the model.
  const bool hopeless = !absl::IsUnavailable(worker.status()) && !ledger_.begun() && tries_ == 0;
  if (hopeless || now >= wait_until_ || core_->stopping()) {
    return Finish(last_error_.ok() ? worker.status() : last_error_, todo);
  }
  next_try_at_ = now;  // every sweep and every change of the fleet asks again
}

void GenerateSession::Begin(std::shared_ptr<const WorkerInfo> worker, int64_t tokens, Todo* todo) {
  EndWaiting();
  request_.mutable_meta()->set_attempt(tries_ + resumes_);
  if (ledger_.accepted()) *request_.mutable_resume() = ledger_.Resume();
  core_->prefixes().Remember(chain_, worker->worker_id, worker->epoch);
  core_->prefixes().Remember(affinity_, worker->worker_id, worker->epoch);
  phase_ = Phase::kRunning;
  attempt_ = std::make_shared<Attempt>(shared_from_this(), std::move(worker), tokens);
  todo->start = attempt_;
}

void GenerateSession::OnStarted(const std::shared_ptr<Attempt>& attempt) {
  Todo todo;
  {
    const std::lock_guard lock(mutex_);
    attempt->started = true;
    if (cancelled_ || !attempt->failure.ok()) {
      GiveUp(attempt, "", &todo);
    } else {
      AskForRead(&todo);
    }
  }
  Perform(std::move(todo));
}

// One read if the caller waits for one (or for the end) and none is under way.
void GenerateSession::AskForRead(Todo* todo) {
  if (phase_ != Phase::kRunning || attempt_ == nullptr) return;
  Attempt& a = *attempt_;
  if (!a.started || a.reading || a.released || (!wants_ && !ledger_.complete())) return;
  a.reading = true;
  a.read_since = Now();
  todo->read = attempt_;
}

// Breaks the stream off; its OnDone follows. An empty `why` is the caller's own wish.
void GenerateSession::GiveUp(const std::shared_ptr<Attempt>& attempt, std::string why, Todo* todo) {
  if (attempt->released) return;
  if (!why.empty() && attempt->failure.ok()) {
    attempt->failure = base::WithReason(base::Unavailable(std::move(why)), "worker_lost");
  }
  todo->cancel = attempt;
  // With a read under way the hold goes when it comes back; before the start there is none yet.
  if (attempt->started && !attempt->reading) {
    attempt->released = true;
    todo->release = attempt;
  }
}

void GenerateSession::OnRead(const std::shared_ptr<Attempt>& attempt, bool ok) {
  Todo todo;
  {
    std::unique_lock lock(mutex_);
    attempt->reading = false;
    if (!ok || cancelled_ || !attempt->failure.ok() || phase_ == Phase::kDone) {
      GiveUp(attempt, "", &todo);
    } else {
      const bool was_begun = ledger_.begun();
      const StreamLedger::Verdict verdict = ledger_.Enter(attempt->event());
      if (attempt->event().has_accepted() && !attempt->accepted) {
        attempt->accepted = true;
        failures_ = 0;
        if (was_begun) core_->migrations_ok.Add();
      }
      switch (verdict) {
        case StreamLedger::Verdict::kDeliver:
          return Deliver(std::move(lock), attempt);
        case StreamLedger::Verdict::kDrop:
          AskForRead(&todo);
          break;
        case StreamLedger::Verdict::kFailed:
        case StreamLedger::Verdict::kBroken:
          attempt->failure = ledger_.error();
          GiveUp(attempt, "", &todo);
          break;
      }
    }
  }
  // After a failed read the stream is over already; cancelling it again is harmless but pointless.
  if (!ok) todo.cancel = nullptr;
  Perform(std::move(todo));
}

void GenerateSession::Deliver(std::unique_lock<std::mutex> lock,
                              const std::shared_ptr<Attempt>& attempt) {
  wants_ = false;
  delivering_ = true;
  lock.unlock();
  // Nobody else touches the event: no read is under way, and ReadNext waits for the end of OnEvent.
  observer_->OnEvent(attempt->event());
  Todo todo;
  lock.lock();
  delivering_ = false;
  if (pending_done_) {
    todo.done = std::move(pending_done_);
  } else {
    AskForRead(&todo);
  }
  lock.unlock();
  Perform(std::move(todo));
}

void GenerateSession::OnAttemptDone(const std::shared_ptr<Attempt>& attempt,
                                    const absl::Status& status) {
  Todo todo;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kRunning || attempt != attempt_) return;
    attempt_ = nullptr;
    const base::SteadyTime now = Now();
    const absl::Status outcome = Outcome(*attempt, status);
    if (cancelled_) {
      Finish(absl::CancelledError("cancelled"), &todo);
    } else if (ledger_.complete()) {
      Finish(absl::OkStatus(), &todo);
    } else if (now >= deadline_) {
      Finish(absl::DeadlineExceededError("the deadline passed"), &todo);
    } else {
      AfterLoss(*attempt, outcome, now, &todo);
    }
  }
  Perform(std::move(todo));
}

absl::Status GenerateSession::Outcome(const Attempt& attempt, const absl::Status& status) const {
  if (!attempt.failure.ok()) return attempt.failure;
  if (!status.ok()) return status;
  return base::WithReason(base::Unavailable("the worker ended the stream early"), "worker_lost");
}

void GenerateSession::AfterLoss(const Attempt& attempt, const absl::Status& status,
                                base::SteadyTime now, Todo* todo) {
  last_error_ = status;
  avoid_.push_back(attempt.worker().worker_id);
  base::LogWarning("generate attempt failed", {{"request_id", request_.meta().request_id()},
                                               {"worker", attempt.worker().worker_id},
                                               {"code", absl::StatusCodeToString(status.code())},
                                               {"begun", ledger_.begun()},
                                               {"next_seq", ledger_.next_seq()}});
  if (!ledger_.begun()) {
    if (tries_ >= options_.retries_max || !MayRetry(status, *core_->fleet()) ||
        !core_->budget().TryTake()) {
      return Finish(status, todo);
    }
    ++tries_;
    core_->retries.Add();
    return WaitForWorker(options_.first_wait_max, now);
  }
  // A worker that has just come back may be full for a moment.
  const bool full = absl::IsResourceExhausted(status) && !attempt.accepted;
  const bool may_resume = IsLost(status) || full;
  if (!may_resume || (attempt.accepted && resumes_ >= options_.resumes_max) ||
      (!attempt.accepted && now >= wait_until_)) {
    return Finish(status, todo);
  }
  if (attempt.accepted) {
    ++resumes_;
    WaitForWorker(options_.worker_wait_max, now);
  } else {
    // It was not there yet after all; keep asking until the wait is over.
    const base::SteadyTime until = wait_until_;
    WaitForWorker(milliseconds(0), now);
    wait_until_ = until;
  }
}

// Goes on in Choose: at once when another worker is there, after a pause otherwise.
void GenerateSession::WaitForWorker(milliseconds first, base::SteadyTime now) {
  phase_ = Phase::kWaiting;
  wait_until_ = std::min(now + first, deadline_);
  if (!std::exchange(counted_waiting_, true)) core_->waiting.fetch_add(1);
  if (avoid_.empty()) return;
  const bool others = HasOther(*core_->fleet(), avoid_);
  const milliseconds pause = others ? milliseconds(0) : Backoff(failures_, core_->Dice());
  ++failures_;
  next_try_at_ = now + pause;
  core_->tasks().At(next_try_at_, [self = shared_from_this()] { self->TryAttempt(); });
}

void GenerateSession::EndWaiting() {
  if (std::exchange(counted_waiting_, false)) core_->waiting.fetch_sub(1);
}

void GenerateSession::Finish(absl::Status status, Todo* todo) {
  EndWaiting();
  phase_ = Phase::kDone;
  if (!status.ok() && resumes_ > 0) core_->migrations_failed.Add();
  if (delivering_) {
    pending_done_ = std::move(status);
  } else {
    todo->done = std::move(status);
  }
}

void GenerateSession::Perform(Todo todo) {
  if (todo.start) {
    todo.start->Start(request_, deadline_);
    OnStarted(todo.start);
  }
  if (todo.read) todo.read->Read();
  if (todo.cancel) todo.cancel->Cancel();
  if (todo.release) todo.release->Release();
  if (todo.done) {
    const std::shared_ptr<GenerateSession> self = shared_from_this();
    const std::shared_ptr<GenerateObserver> observer = std::move(observer_);
    observer->OnDone(*todo.done);
    core_->Unregister(this);
  }
}

}  // namespace conclave::mesh
