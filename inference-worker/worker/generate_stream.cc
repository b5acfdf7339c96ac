#include "worker/generate_stream.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "mesh/grpc_status.h"
#include "worker/convert.h"
#include "worker/use_options.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;
using base::Clock;
using base::MillisBetween;
using base::SteadyTime;

// Two attempts of one request may be alive at once, so the caller's id alone is not unique.
std::string LiveId(const pb::GenerateRequest& request) {
  static std::atomic<uint64_t> counter{0};
  return absl::StrCat(request.meta().request_id().substr(0, 128), "#", ++counter);
}

size_t BufferLimit(const pb::GenerateRequest& request, size_t most) {
  const auto credit = static_cast<size_t>(std::max(request.stream_credit(), 0));
  return credit == 0 ? most : std::min(credit, most);
}

// Of a well-formed request; another is refused before anything ends.
int32_t NumUnfinished(const pb::GenerateRequest& request) {
  int32_t count = std::max(request.n(), 1);
  for (const auto& answer : request.resume().answers()) count -= answer.finished() ? 1 : 0;
  return count;
}

}  // namespace

GenerateStream::GenerateStream(StreamContext* shared, grpc::CallbackServerContext* context,
                               const pb::GenerateRequest* request,
                               std::optional<base::Gate::Pass> pass)
    : shared_(shared),
      context_(context),
      request_(request),
      arrived_(Clock::System().Now()),
      id_(LiveId(*request)),
      request_id_(request->meta().request_id().substr(0, 128)),
      buffer_limit_(BufferLimit(*request, shared->options.buffered_events_max)),
      pass_(std::move(pass)),
      answers_left_(NumUnfinished(*request)),
      last_write_(arrived_) {}

void GenerateStream::Prepare() {
  {
    const std::lock_guard lock(mutex_);
    loading_ = asking_ = true;
  }
  const uint64_t use =
      shared_->host->Use(request_->model(), UseOptionsOf(request_->meta(), *context_),
                         [self = shared_from_this()](absl::StatusOr<ModelLease> lease) {
                           self->TakeLease(std::move(lease));
                         });
  bool got = false, cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    asking_ = false;
    use_ = use;
    got = got_.has_value();
    cancelled = cancelled_;
  }
  if (got) return Submit();
  if (cancelled) shared_->host->CancelUse(use);
}

// On any thread: what follows is for one that may be held up.
void GenerateStream::TakeLease(absl::StatusOr<ModelLease> lease) {
  {
    const std::lock_guard lock(mutex_);
    got_ = std::move(lease);
    if (asking_) return;
    load_ms_ = MillisBetween(arrived_, Clock::System().Now());
  }
  if (shared_->pool->Post([self = shared_from_this()] { self->Submit(); })) return;
  Refuse(base::WithRetryAfter(base::ResourceExhausted("too many requests are being prepared"),
                              std::chrono::seconds(1)));
}

void GenerateStream::Submit() {
  std::optional<absl::StatusOr<ModelLease>> lease;
  {
    const std::lock_guard lock(mutex_);
    lease = std::exchange(got_, std::nullopt);
    loading_ = false;
    outbox_.clear();  // progress that nobody has read
  }
  const absl::Status status = Admit(*std::move(lease));
  bool cancel = false;
  {
    const std::lock_guard lock(mutex_);
    prepared_ = true;
    submitted_ = status.ok();
    cancel = cancelled_ && submitted_;
    if (!status.ok()) {
      ended_ = true;
      end_ = Explain(status);
      metrics_.refused.Add();
    }
  }
  if (cancel) CancelBackend();
  Pump();
}

absl::Status GenerateStream::Admit(absl::StatusOr<ModelLease> lease) {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return absl::CancelledError("the caller has gone");
  }
  RETURN_IF_ERROR(lease.status());
  pb::GenerateRequest copy = *request_;
  ASSIGN_OR_RETURN(backends::GenerateRequest request, FromProto(std::move(copy), id_));
  const ModelMetrics metrics = shared_->metrics->Of(lease->model().name);
  backends::Backend& backend = lease->backend();
  {
    const std::lock_guard lock(mutex_);
    lease_ = *std::move(lease);
    metrics_ = metrics;
  }
  ASSIGN_OR_RETURN(const backends::Accepted accepted,
                   backend.Generate(std::move(request), shared_from_this()));
  SetAccepted(accepted);
  return absl::OkStatus();
}

void GenerateStream::SetAccepted(const backends::Accepted& from) {
  const HostedModel& model = lease_->model();
  pb::GenerateEvent event;
  pb::Accepted* to = event.mutable_accepted();
  to->set_worker_id(shared_->identity.worker_id);
  to->set_epoch(shared_->identity.epoch);
  to->set_model(model.name);
  to->set_model_revision(model.status().revision);
  to->set_prompt_tokens(from.prompt_tokens);
  to->set_cached_tokens(from.cached_tokens);
  to->set_queue_position(from.queue_position);
  to->set_seed(from.seed);
  const std::lock_guard lock(mutex_);
  // The backend may have been quicker; nothing is written before this.
  outbox_.push_front(std::move(event));
  metrics_.prompt_tokens.Add(from.prompt_tokens);
}

absl::Status GenerateStream::Explain(absl::Status status) const {
  const bool full = status.code() == absl::StatusCode::kResourceExhausted;
  if (!full || base::RetryAfterOf(status).count() > 0 || !lease_) return status;
  const backends::Load load = lease_->backend().load();
  return base::WithRetryAfter(std::move(status), shared_->drain_rate.RetryAfter(load.waiting));
}

void GenerateStream::Refuse(const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    loading_ = false;
    prepared_ = true;
    ended_ = true;
    end_ = status;
  }
  Pump();
}

backends::Flow GenerateStream::OnEvent(backends::Event event) {
  const SteadyTime now = Clock::System().Now();
  backends::Flow flow = backends::Flow::kContinue;
  bool post = false;
  {
    const std::lock_guard lock(mutex_);
    ObserveLocked(event, now);
    const bool last = IsLastLocked(event);
    if (last) {
      ended_ = true;
      ObserveEndLocked(event, now);
    }
    if (!cancelled_) {
      const bool progress = std::holds_alternative<backends::Progress>(event);
      // Of several unread progress reports only the newest counts.
      if (progress && !outbox_.empty() && outbox_.back().has_progress()) outbox_.pop_back();
      outbox_.push_back(ToProto(std::move(event),
                                {.load_ms = load_ms_, .total_ms = MillisBetween(arrived_, now)}));
      if (!last && outbox_.size() >= buffer_limit_) {
        paused_ = true;
        flow = backends::Flow::kPause;
      }
    }
    // Whoever writes goes on with what is there by then.
    post = !writing_ && !std::exchange(pump_posted_, true);
  }
  if (post) shared_->writer->Post(shared_from_this());
  return flow;
}

bool GenerateStream::IsLastLocked(const backends::Event& event) {
  if (std::holds_alternative<backends::Failed>(event)) return true;
  return std::holds_alternative<backends::Finished>(event) && --answers_left_ == 0;
}

void GenerateStream::ObserveLocked(const backends::Event& event, SteadyTime now) {
  if (const auto* progress = std::get_if<backends::Progress>(&event)) {
    progress_ = *progress;
  } else if (const auto* delta = std::get_if<backends::Delta>(&event)) {
    if (last_delta_ == SteadyTime()) {
      metrics_.ttft_seconds.Observe(MillisBetween(arrived_, now) / 1e3);
    } else {
      metrics_.itl_seconds.Observe(MillisBetween(last_delta_, now) / 1e3);
    }
    last_delta_ = now;
    progress_.phase = backends::Progress::Phase::kDecode;
    progress_.done += static_cast<int32_t>(delta->token_ids.size());
    progress_.total = 0;
  } else if (const auto* finished = std::get_if<backends::Finished>(&event)) {
    ObserveFinishedLocked(*finished);
  } else if (std::holds_alternative<backends::Failed>(event)) {
    metrics_.failed.Add();
  }
}

void GenerateStream::ObserveEndLocked(const backends::Event& last, SteadyTime now) {
  shared_->drain_rate.Finished();
  metrics_.request_seconds.Observe(MillisBetween(arrived_, now) / 1e3);
  LogEndLocked(last, MillisBetween(arrived_, now));
  if (cancelled_) metrics_.cancel_seconds.Observe(MillisBetween(cancelled_at_, now) / 1e3);
}

void GenerateStream::ObserveFinishedLocked(const backends::Finished& finished) {
  prompt_tokens_ = finished.usage.prompt_tokens;
  completion_tokens_ += finished.usage.completion_tokens;
  metrics_.completion_tokens.Add(finished.usage.completion_tokens);
  metrics_.cached_tokens.Add(finished.usage.cached_tokens);
  metrics_.queue_seconds.Observe(finished.timings.queue_ms / 1e3);
  switch (finished.reason) {
    case backends::Finished::Reason::kStop:
      return metrics_.finished_stop.Add();
    case backends::Finished::Reason::kLength:
      return metrics_.finished_length.Add();
    case backends::Finished::Reason::kToolCalls:
      return metrics_.finished_tool_calls.Add();
    case backends::Finished::Reason::kCancelled:
      return metrics_.cancelled.Add();
  }
}

// Ids, counts and times for whoever runs the model; never what was said.
void GenerateStream::LogEndLocked(const backends::Event& last, double ms) {
  if (!lease_) return;
  backends::ModelLog& log = *lease_->model().log;
  const auto* const finished = std::get_if<backends::Finished>(&last);
  if (finished == nullptr) {
    return log.Add(base::LogLevel::kWarning, "request failed",
                   {{"request", request_id_}, {"ms", ms}});
  }
  const bool cancelled = finished->reason == backends::Finished::Reason::kCancelled;
  log.Add(base::LogLevel::kInfo, cancelled ? "request cancelled" : "request finished",
          {{"request", request_id_},
           {"prompt_tokens", prompt_tokens_},
           {"completion_tokens", completion_tokens_},
           {"ms", ms}});
}

void GenerateStream::Pump() {
  std::unique_lock lock(mutex_);
  if ((!prepared_ && !loading_) || writing_ || killing_ || finish_called_) return;
  if (!outbox_.empty() && !cancelled_) {
    current_ = std::move(outbox_.front());
    outbox_.pop_front();
    writing_ = true;
    last_write_ = Clock::System().Now();
    lock.unlock();
    StartWrite(&current_);
    return;
  }
  if (!prepared_ || (!ended_ && !cancelled_)) return;
  finish_called_ = true;
  const absl::Status end = cancelled_ ? absl::CancelledError("the caller has gone") : end_;
  lock.unlock();
  Finish(mesh::ToGrpc(end, context_));
}

void GenerateStream::PumpPosted() {
  {
    const std::lock_guard lock(mutex_);
    pump_posted_ = false;
  }
  Pump();
}

void GenerateStream::OnWriteDone(bool ok) {
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    last_write_ = Clock::System().Now();
    // A failed write means a broken call; OnCancel follows and ends it.
    if (!ok) outbox_.clear();
    resume = paused_ && outbox_.size() <= buffer_limit_ / 2;
    if (resume) paused_ = false;
  }
  if (resume) lease_->backend().Resume(id_);
  Pump();
}

void GenerateStream::OnCancel() {
  bool cancel = false;
  uint64_t use = 0;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    cancelled_at_ = Clock::System().Now();
    outbox_.clear();
    cancel = submitted_ && !ended_;
    use = use_;
  }
  if (use != 0) shared_->host->CancelUse(use);
  if (cancel) CancelBackend();
  Pump();
}

// The lease stays until the stream is destroyed, so the backend is there even if it has just ended
// the request; it ignores ids it does not know.
void GenerateStream::CancelBackend() { lease_->backend().Cancel(id_); }

void GenerateStream::OnDone() {
  std::shared_ptr<GenerateStream> self;
  const std::lock_guard lock(mutex_);
  pass_.reset();
  // Destroyed after the lock: `self` was declared first.
  self = std::move(self_);
}

// How far the model is.
pb::GenerateEvent GenerateStream::LoadingEvent() const {
  pb::GenerateEvent event;
  pb::Progress* progress = event.mutable_progress();
  progress->set_phase(pb::Progress::PHASE_LOADING);
  progress->set_total(100);
  const auto model = shared_->host->Find(request_->model());
  if (model.ok()) progress->set_done(static_cast<int32_t>((*model)->status().progress * 100));
  return event;
}

void GenerateStream::Beat(SteadyTime now) {
  bool resume = false;
  bool kill = false;
  {
    const std::lock_guard lock(mutex_);
    if ((!prepared_ && !loading_) || finish_called_ || cancelled_) return;
    const auto silence = now - last_write_;
    kill = writing_ && silence > shared_->options.write_stall_max;
    killing_ = kill;
    const bool idle = !writing_ && outbox_.empty() && !ended_;
    // The pause asked for in OnEvent may take effect after the resume that followed it.
    resume = idle && submitted_ && silence > shared_->options.heartbeat / 2;
    if (idle && silence >= shared_->options.heartbeat) {
      outbox_.push_back(loading_ ? LoadingEvent() : ToProto(progress_, {}));
    }
  }
  if (resume) lease_->backend().Resume(id_);
  if (kill) {
    base::LogWarning("caller stopped reading", {{"request", id_}});
    context_->TryCancel();
    const std::lock_guard lock(mutex_);
    killing_ = false;
  }
  Pump();
}

}  // namespace conclave::worker
