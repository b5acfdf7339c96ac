#include "store/jobs/run_recorder.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "store/messages.h"
#include "store/rows.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr int kThreadMessagesMax = 10'000;
constexpr std::chrono::milliseconds kPauseMin{50};
constexpr std::chrono::milliseconds kPauseMax{1000};

bool WorthWaiting(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsAborted(status);
}

// PostgreSQL's text and jsonb have no U+0000.
std::string WithoutNul(std::string text) {
  size_t at = 0;
  while ((at = text.find('\0', at)) != std::string::npos) text.replace(at, 1, "\xEF\xBF\xBD");
  return text;
}

}  // namespace

RunRecorder::RunRecorder(Database& database, const RunSignals& signals, RunControl& control,
                         LeaseKey lease, const Options& options)
    : database_(database),
      signals_(signals),
      control_(control),
      lease_(std::move(lease)),
      options_(options),
      message_id_(options.new_id("msg_")),
      message_step_id_(options.new_id("step_")),
      tool_step_id_(options.new_id("step_")) {}

absl::Status RunRecorder::Persist(std::string_view op, const Body& body) {
  std::chrono::milliseconds pause = kPauseMin;
  while (true) {
    if (control_.abandoned()) return base::Unavailable("the executor was abandoned");
    const absl::Status status = database_.Transact(op, body);
    if (status.ok()) {
      signals_.Told(lease_.run_id);
      return status;
    }
    if (base::ReasonOf(status) == kLeaseLost || !WorthWaiting(status)) return status;
    if (control_.lost() || control_.stopping()) return status;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kPauseMax);
  }
}

// ---- taking a run up

absl::Status RunRecorder::Begin() {
  return Persist("begin_run", [this](Transaction& tx) { return TakeUp(tx); });
}

absl::Status RunRecorder::TakeUp(Transaction& tx) {
  ended_ = false;
  ASSIGN_OR_RETURN(RunChange change, RunChange::BeginLeased(tx, lease_));
  if (change.status() == pb::RUN_STATUS_CANCELLING || change.past_expiry()) {
    const bool cancel = change.status() == pb::RUN_STATUS_CANCELLING;
    RETURN_IF_ERROR(store::EndEarly(
        tx, change, cancel ? pb::RUN_STATUS_CANCELLED : pb::RUN_STATUS_EXPIRED, nullptr));
    ended_ = true;
    return change.Save();
  }
  expires_in_ = change.expires_in();
  RETURN_IF_ERROR(ReadHistory(tx, change));
  // A leg that was only queued has nothing to continue from.
  if (change.status() != pb::RUN_STATUS_QUEUED) return ReadProgress(tx, change);
  change.SetStatus(pb::RUN_STATUS_IN_PROGRESS);
  change.TellRun();
  return change.Save();
}

constexpr std::string_view kEarlierSteps =
    "SELECT body FROM run_steps WHERE tenant_id = $1 AND run_id = $2 AND leg < $3::int "
    "ORDER BY seq";

absl::Status RunRecorder::ReadHistory(Transaction& tx, const RunChange& change) {
  history_ = RunHistory{.run = change.kept(), .leg = change.leg()};
  ASSIGN_OR_RETURN(std::vector<pb::Message> messages,
                   ReadThread(tx, lease_.tenant, lease_.thread_id, kThreadMessagesMax));
  for (pb::Message& message : messages) {
    const bool ours = message.run_id() == lease_.run_id;
    (ours ? history_.run_messages : history_.messages).push_back(std::move(message));
  }
  if (change.leg() == 1) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Rows steps,
                   tx.Execute(kEarlierSteps, {lease_.tenant, lease_.run_id, change.leg()}));
  for (int i = 0; i < steps.size(); ++i) {
    RETURN_IF_ERROR(FromJsonRow(steps.Text(i, 0), &history_.steps.emplace_back()));
  }
  return absl::OkStatus();
}

constexpr std::string_view kReadTokens =
    "SELECT next_delta_seq, token_ids, model_revision FROM run_tokens "
    "WHERE tenant_id = $1 AND run_id = $2 AND leg = $3::int ORDER BY next_delta_seq";

absl::Status RunRecorder::ReadProgress(Transaction& tx, const RunChange& change) {
  ASSIGN_OR_RETURN(open_, ReadOpenStep(tx, lease_.tenant, lease_.run_id));
  ASSIGN_OR_RETURN(const Rows rows,
                   tx.Execute(kReadTokens, {lease_.tenant, lease_.run_id, change.leg()}));
  done_.clear();
  committed_delta_seq_ = 0;
  for (int i = 0; i < rows.size(); ++i) {
    const std::vector<int32_t> tokens = rows.Ints(i, 1);
    done_.insert(done_.end(), tokens.begin(), tokens.end());
    committed_delta_seq_ = rows.Int(i, 0);
    revision_ = rows.String(i, 2);
  }
  next_delta_seq_ = committed_delta_seq_;
  calls_begun_ = open_.step.type() == pb::RunStep::TYPE_TOOL_CALLS;
  return absl::OkStatus();
}

// ---- what comes from the worker

absl::Status RunRecorder::Accept(const pb::Accepted& accepted) {
  prompt_tokens_ = accepted.prompt_tokens();
  if (next_delta_seq_ > 0 && accepted.model_revision() != revision_) {
    return base::FailedPrecondition("the model was replaced while the run was interrupted");
  }
  revision_ = accepted.model_revision();
  return absl::OkStatus();
}

absl::Status RunRecorder::Add(const pb::Delta& delta) {
  if (delta.seq() != next_delta_seq_) return base::Internal("the worker's deltas have a gap");
  ++next_delta_seq_;
  tokens_.insert(tokens_.end(), delta.token_ids().begin(), delta.token_ids().end());
  // An assistant's message has no place for reasoning, and none for text behind its tool calls.
  if (!calls_begun_) text_ += WithoutNul(delta.text());
  if (!delta.has_tool_call()) return absl::OkStatus();
  calls_begun_ = true;
  const pb::ToolCallDelta& call = delta.tool_call();
  if (fragments_.empty() || fragments_.back().index() != call.index()) {
    fragments_.emplace_back().set_index(call.index());
  }
  pb::ToolCallFragment& fragment = fragments_.back();
  if (!call.id().empty()) fragment.set_id(call.id());
  if (!call.name().empty()) fragment.set_name(WithoutNul(call.name()));
  fragment.mutable_arguments()->append(WithoutNul(call.arguments()));
  return absl::OkStatus();
}

std::optional<pb::ResumeState> RunRecorder::Resume() const {
  if (next_delta_seq_ == 0) return std::nullopt;
  pb::ResumeState resume;
  resume.mutable_emitted_token_ids()->Add(done_.begin(), done_.end());
  resume.mutable_emitted_token_ids()->Add(tokens_.begin(), tokens_.end());
  resume.set_next_seq(next_delta_seq_);
  return resume;
}

// ---- committing it

bool RunRecorder::NeedsStep() const {
  if (!fragments_.empty()) return open_.step.type() != pb::RunStep::TYPE_TOOL_CALLS;
  return !text_.empty() && open_.step.id().empty();
}

absl::Status RunRecorder::Flush() {
  if (!pending()) return absl::OkStatus();
  OpenStep after;
  absl::Status status = Persist("append_run_events", [&](Transaction& tx) -> absl::Status {
    after = open_;
    if (!NeedsStep()) {
      RETURN_IF_ERROR(WriteDeltas(tx));
      after.text += text_;
      for (const auto& fragment : fragments_) {
        if (!AppendFragment(fragment, &after.calls)) return base::Internal("tool call out of line");
      }
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(RunChange change, RunChange::BeginLeased(tx, lease_));
    RETURN_IF_ERROR(WriteTokens(tx));
    RETURN_IF_ERROR(TellPending(tx, change, &after));
    return change.Save();
  });
  if (absl::IsAlreadyExists(status)) {
    // An earlier attempt was committed after all.
    status = Persist("read_open_step", [&](Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(after, ReadOpenStep(tx, lease_.tenant, lease_.run_id));
      return absl::OkStatus();
    });
  }
  if (status.ok()) Committed(std::move(after));
  return status;
}

void RunRecorder::Committed(OpenStep open) {
  open_ = std::move(open);
  done_.insert(done_.end(), tokens_.begin(), tokens_.end());
  committed_delta_seq_ = next_delta_seq_;
  tokens_.clear();
  text_.clear();
  fragments_.clear();
}

constexpr std::string_view kInsertTokens =
    "INSERT INTO run_tokens (tenant_id, run_id, leg, next_delta_seq, token_ids, model_revision) "
    "VALUES ($1, $2, $3::int, $4::bigint, $5::int[], $6)";

absl::Status RunRecorder::WriteTokens(Transaction& tx) {
  return tx
      .Execute(kInsertTokens, {lease_.tenant, lease_.run_id, history_.leg, next_delta_seq_,
                               IntArray(tokens_), revision_})
      .status();
}

// Deltas change nothing but the count of events, so the run's large row is not read for them.
constexpr std::string_view kAppend =
    "UPDATE runs SET last_event_seq = last_event_seq + $4::bigint, "
    "lease_until = clock_timestamp() + make_interval(secs => $5::bigint / 1000.0) "
    "WHERE tenant_id = $1 AND id = $2 AND fence = $3::bigint "
    "AND status IN ('in_progress', 'cancelling') RETURNING last_event_seq, status";

absl::Status RunRecorder::WriteDeltas(Transaction& tx) {
  std::vector<pb::RunEvent> events;
  if (!text_.empty()) {
    pb::RunEvent& event = events.emplace_back();
    event.set_event("thread.message.delta");
    event.mutable_message_delta()->set_id(open_.step.message_id());
    event.mutable_message_delta()->set_text(text_);
  }
  if (!fragments_.empty()) {
    pb::RunEvent& event = events.emplace_back();
    event.set_event("thread.run.step.delta");
    event.mutable_step_delta()->set_id(open_.step.id());
    for (const auto& fragment : fragments_)
      *event.mutable_step_delta()->add_tool_calls() = fragment;
  }
  const auto count = static_cast<int64_t>(events.size());
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kAppend, {lease_.tenant, lease_.run_id, lease_.fence,
                                                         count, options_.lease.count()}));
  if (rows.empty()) return LeaseLost(lease_);
  if (rows.Text(0, 1) == "cancelling") control_.Cancel();
  RETURN_IF_ERROR(WriteTokens(tx));
  return InsertEvents(tx, lease_.tenant, lease_.run_id, rows.Int(0, 0) - count + 1, events);
}

absl::Status RunRecorder::TellPending(Transaction& tx, RunChange& change, OpenStep* open) {
  if (!text_.empty()) {
    if (open->step.id().empty()) RETURN_IF_ERROR(OpenMessageStep(change, open));
    open->text += text_;
    change.TellMessageDelta(open->step.message_id(), text_);
  }
  if (fragments_.empty()) return absl::OkStatus();
  if (open->step.type() != pb::RunStep::TYPE_TOOL_CALLS) {
    RETURN_IF_ERROR(OpenToolStep(tx, change, open));
  }
  for (const pb::ToolCallFragment& fragment : fragments_) {
    if (!AppendFragment(fragment, &open->calls)) return base::Internal("tool call out of line");
  }
  change.TellStepDelta(open->step.id(), fragments_);
  return absl::OkStatus();
}

absl::Status RunRecorder::OpenMessageStep(RunChange& change, OpenStep* open) {
  *open = OpenStep{};
  open->step.set_id(message_step_id_);
  open->step.set_type(pb::RunStep::TYPE_MESSAGE_CREATION);
  open->step.set_message_id(message_id_);
  RETURN_IF_ERROR(change.OpenStep(&open->step, &open->place));
  const pb::Message message = BeginMessage(change, message_id_);
  change.TellMessage("created", message);
  change.TellMessage("in_progress", message);
  return absl::OkStatus();
}

// A message that goes before the calls is whole once they begin.
absl::Status RunRecorder::OpenToolStep(Transaction& tx, RunChange& change, OpenStep* open) {
  if (!open->step.id().empty()) {
    RETURN_IF_ERROR(WriteMessage(tx, change, *open, ""));
    open->step.set_status(pb::RunStep::STATUS_COMPLETED);
    RETURN_IF_ERROR(change.CloseStep(&open->step));
  }
  *open = OpenStep{};
  open->step.set_id(tool_step_id_);
  open->step.set_type(pb::RunStep::TYPE_TOOL_CALLS);
  return change.OpenStep(&open->step, &open->place);
}

// ---- the end of a leg

absl::Status RunRecorder::Finish(const pb::Finished& finished) {
  return Persist("finish_run", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(RunChange change, RunChange::BeginLeased(tx, lease_));
    OpenStep open = open_;
    RETURN_IF_ERROR(TellPending(tx, change, &open));
    change.AddUsage(finished.usage());
    if (change.status() == pb::RUN_STATUS_CANCELLING) {
      // It was quicker than its cancelling, but the caller was promised an end as cancelled.
      RETURN_IF_ERROR(change.Save());
      RETURN_IF_ERROR(store::EndEarly(tx, change, pb::RUN_STATUS_CANCELLED, nullptr));
      return change.Save();
    }
    if (open.step.type() == pb::RunStep::TYPE_TOOL_CALLS) {
      RETURN_IF_ERROR(SettleCalls(change, &open, finished));
    } else {
      RETURN_IF_ERROR(SettleMessage(tx, change, &open, finished));
    }
    change.TellRun();
    return change.Save();
  });
}

absl::Status RunRecorder::SettleMessage(Transaction& tx, RunChange& change, OpenStep* open,
                                        const pb::Finished& finished) {
  // An empty answer is a message too.
  if (open->step.id().empty()) RETURN_IF_ERROR(OpenMessageStep(change, open));
  const bool cut = finished.reason() == pb::Finished::REASON_LENGTH;
  RETURN_IF_ERROR(WriteMessage(tx, change, *open, cut ? "max_tokens" : ""));
  open->step.set_status(pb::RunStep::STATUS_COMPLETED);
  *open->step.mutable_usage() = finished.usage();
  RETURN_IF_ERROR(change.CloseStep(&open->step));
  change.SetStatus(cut ? pb::RUN_STATUS_INCOMPLETE : pb::RUN_STATUS_COMPLETED);
  if (cut) change.SetIncompleteReason("max_completion_tokens");
  return absl::OkStatus();
}

absl::Status RunRecorder::SettleCalls(RunChange& change, OpenStep* open,
                                      const pb::Finished& finished) {
  SetStepCalls(open->calls, &open->step);
  *open->step.mutable_usage() = finished.usage();
  if (finished.reason() == pb::Finished::REASON_LENGTH) {
    // A call that was cut off cannot be made.
    open->step.set_status(pb::RunStep::STATUS_FAILED);
    RETURN_IF_ERROR(change.CloseStep(&open->step));
    change.SetStatus(pb::RUN_STATUS_INCOMPLETE);
    change.SetIncompleteReason("max_completion_tokens");
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(change.KeepStep(open->step));
  change.SetRequiredToolCalls(open->calls);
  change.SetStatus(pb::RUN_STATUS_REQUIRES_ACTION);
  return absl::OkStatus();
}

pb::Usage RunRecorder::UsageSoFar() const {
  pb::Usage usage;
  usage.set_prompt_tokens(prompt_tokens_);
  usage.set_completion_tokens(static_cast<int32_t>(done_.size() + tokens_.size()));
  return usage;
}

absl::Status RunRecorder::End(pb::RunStatus status, const pb::RunError* error) {
  return Persist("end_run", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(RunChange change, RunChange::BeginLeased(tx, lease_));
    OpenStep open = open_;
    RETURN_IF_ERROR(TellPending(tx, change, &open));
    change.AddUsage(UsageSoFar());
    // EndEarly reads what has been told, so the rest must be written before it.
    RETURN_IF_ERROR(change.Save());
    RETURN_IF_ERROR(store::EndEarly(tx, change, status, error));
    return change.Save();
  });
}

absl::Status RunRecorder::EndAtLimit(std::string_view reason) {
  return Persist("end_run", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(RunChange change, RunChange::BeginLeased(tx, lease_));
    change.SetStatus(pb::RUN_STATUS_INCOMPLETE);
    change.SetIncompleteReason(reason);
    change.TellRun();
    return change.Save();
  });
}

}  // namespace conclave::store
