#include "store/run_change.h"

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "store/objects.h"
#include "store/rows.h"
#include "store/threads.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr std::array<std::pair<pb::RunStatus, std::string_view>, 9> kStatusNames = {{
    {pb::RUN_STATUS_QUEUED, "queued"},
    {pb::RUN_STATUS_IN_PROGRESS, "in_progress"},
    {pb::RUN_STATUS_REQUIRES_ACTION, "requires_action"},
    {pb::RUN_STATUS_CANCELLING, "cancelling"},
    {pb::RUN_STATUS_CANCELLED, "cancelled"},
    {pb::RUN_STATUS_FAILED, "failed"},
    {pb::RUN_STATUS_COMPLETED, "completed"},
    {pb::RUN_STATUS_INCOMPLETE, "incomplete"},
    {pb::RUN_STATUS_EXPIRED, "expired"},
}};

std::string OutcomeOf(const pb::Run& run) {
  pb::Run outcome;
  if (run.has_last_error()) *outcome.mutable_last_error() = run.last_error();
  if (run.has_incomplete_reason()) outcome.set_incomplete_reason(run.incomplete_reason());
  if (run.has_usage()) *outcome.mutable_usage() = run.usage();
  *outcome.mutable_required_tool_calls() = run.required_tool_calls();
  return ToJsonRow(outcome);
}

void SetEndTime(pb::Run* run, int64_t seconds) {
  if (run->status() == pb::RUN_STATUS_CANCELLED) run->set_cancelled_at(seconds);
  if (run->status() == pb::RUN_STATUS_FAILED) run->set_failed_at(seconds);
  if (run->status() == pb::RUN_STATUS_COMPLETED) run->set_completed_at(seconds);
}

}  // namespace

std::string_view RunStatusName(pb::RunStatus status) {
  for (const auto& [value, name] : kStatusNames) {
    if (value == status) return name;
  }
  return "";
}

pb::RunStatus RunStatusFromName(std::string_view wanted) {
  for (const auto& [value, name] : kStatusNames) {
    if (name == wanted) return value;
  }
  return pb::RUN_STATUS_UNSPECIFIED;
}

bool IsTerminal(pb::RunStatus status) {
  return status == pb::RUN_STATUS_CANCELLED || status == pb::RUN_STATUS_FAILED ||
         status == pb::RUN_STATUS_COMPLETED || status == pb::RUN_STATUS_INCOMPLETE ||
         status == pb::RUN_STATUS_EXPIRED;
}

bool IsAtRest(pb::RunStatus status) {
  return IsTerminal(status) || status == pb::RUN_STATUS_REQUIRES_ACTION;
}

absl::StatusOr<pb::Run> RunFromRow(const Rows& rows, int row) {
  pb::Run run;
  RETURN_IF_ERROR(FromJsonRow(rows.Text(row, 7), &run));
  pb::Run outcome;
  RETURN_IF_ERROR(FromJsonRow(rows.Text(row, 9), &outcome));
  run.MergeFrom(outcome);
  RETURN_IF_ERROR(MapFromJson(rows.Text(row, 8), run.mutable_metadata()));
  run.set_id(rows.String(row, 0));
  run.set_thread_id(rows.String(row, 1));
  run.set_created_at(rows.Int(row, 2));
  run.set_status(RunStatusFromName(rows.Text(row, 3)));
  run.set_expires_at(rows.Int(row, 4));
  if (!rows.IsNull(row, 5)) run.set_started_at(rows.Int(row, 5));
  if (!rows.IsNull(row, 6)) SetEndTime(&run, rows.Int(row, 6));
  run.set_event_seq(rows.Int(row, 11));
  return run;
}

pb::Run ToldRun(pb::Run run) {
  if (IsTerminal(run.status())) {
    if (run.status() != pb::RUN_STATUS_EXPIRED) run.clear_expires_at();
    if (!run.has_usage()) run.mutable_usage();
  } else {
    run.clear_usage();
  }
  if (run.status() != pb::RUN_STATUS_REQUIRES_ACTION) run.clear_required_tool_calls();
  return run;
}

constexpr std::string_view kLockRun =
    " FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND id = $3 FOR UPDATE";

absl::StatusOr<RunChange> RunChange::Read(Transaction& tx, const std::string& tenant,
                                          const Rows& rows) {
  RunChange change(tx, tenant);
  ASSIGN_OR_RETURN(change.run_, RunFromRow(rows, 0));
  change.leg_ = static_cast<int>(rows.Int(0, 10));
  change.last_event_seq_ = rows.Int(0, 11);
  change.next_step_ = static_cast<int>(rows.Int(0, 12));
  change.fence_ = rows.Int(0, 13);
  change.now_ = rows.Int(0, 14);
  change.expires_in_ = std::chrono::milliseconds(rows.Int(0, 15));
  return change;
}

absl::StatusOr<RunChange> RunChange::Begin(Transaction& tx, const std::string& tenant,
                                           const std::string& thread_id,
                                           const std::string& run_id) {
  RETURN_IF_ERROR(LockThread(tx, tenant, thread_id));
  static const std::string sql =
      absl::StrCat("SELECT ", base::Abs(kRunColumns), base::Abs(kLockRun));
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(sql, {tenant, thread_id, run_id}));
  if (rows.empty()) return NoSuchObject("run", run_id);
  return Read(tx, tenant, rows);
}

absl::StatusOr<RunChange> RunChange::BeginLeased(Transaction& tx, const LeaseKey& lease) {
  absl::StatusOr<RunChange> change = Begin(tx, lease.tenant, lease.thread_id, lease.run_id);
  const bool gone = change.status().code() == absl::StatusCode::kNotFound;
  if (!gone && !change.ok()) return std::move(change).status();
  if (gone || change->fence_ != lease.fence || IsAtRest(change->status())) {
    return LeaseLost(lease);
  }
  return change;
}

absl::Status LeaseLost(const LeaseKey& lease) {
  return base::WithReason(
      absl::AbortedError(absl::StrCat("run ", lease.run_id, ": the lease is lost")), kLeaseLost);
}

pb::Run RunChange::Told() const {
  pb::Run run = ToldRun(run_);
  run.set_event_seq(last_event_seq_);
  return run;
}

void RunChange::SetStatus(pb::RunStatus status) {
  run_.set_status(status);
  if (status == pb::RUN_STATUS_IN_PROGRESS && !run_.has_started_at()) run_.set_started_at(now_);
  if (IsTerminal(status)) SetEndTime(&run_, now_);
  leg_ended_ = leg_ended_ || IsAtRest(status);
}

void RunChange::SetError(const pb::RunError& error) { *run_.mutable_last_error() = error; }

void RunChange::SetIncompleteReason(std::string_view reason) {
  run_.set_incomplete_reason(std::string(reason));
}

void RunChange::AddUsage(const pb::Usage& usage) {
  pb::Usage* sum = run_.mutable_usage();
  sum->set_prompt_tokens(sum->prompt_tokens() + usage.prompt_tokens());
  sum->set_completion_tokens(sum->completion_tokens() + usage.completion_tokens());
  sum->set_cached_tokens(sum->cached_tokens() + usage.cached_tokens());
  sum->set_reasoning_tokens(sum->reasoning_tokens() + usage.reasoning_tokens());
}

void RunChange::SetRequiredToolCalls(const std::vector<pb::ToolCall>& calls) {
  run_.clear_required_tool_calls();
  for (const pb::ToolCall& call : calls) *run_.add_required_tool_calls() = call;
}

void RunChange::BeginNextLeg() { ++leg_; }

void RunChange::Tell(std::string_view event, pb::RunEvent data) {
  data.set_event(std::string(event));
  data.set_seq(++last_event_seq_);
  events_.push_back(std::move(data));
}

void RunChange::TellRun() {
  pb::RunEvent data;
  *data.mutable_run() = Told();
  Tell(absl::StrCat("thread.run.", base::Abs(RunStatusName(run_.status()))), std::move(data));
}

void RunChange::TellStep(std::string_view what, const pb::RunStep& step) {
  pb::RunEvent data;
  *data.mutable_step() = step;
  Tell(absl::StrCat("thread.run.step.", base::Abs(what)), std::move(data));
}

void RunChange::TellMessage(std::string_view what, const pb::Message& message) {
  pb::RunEvent data;
  *data.mutable_message() = message;
  Tell(absl::StrCat("thread.message.", base::Abs(what)), std::move(data));
}

void RunChange::TellMessageDelta(const std::string& message_id, std::string text) {
  pb::RunEvent data;
  data.mutable_message_delta()->set_id(message_id);
  data.mutable_message_delta()->set_text(std::move(text));
  Tell("thread.message.delta", std::move(data));
}

void RunChange::TellStepDelta(const std::string& step_id,
                              const std::vector<pb::ToolCallFragment>& fragments) {
  pb::RunEvent data;
  data.mutable_step_delta()->set_id(step_id);
  for (const auto& fragment : fragments) *data.mutable_step_delta()->add_tool_calls() = fragment;
  Tell("thread.run.step.delta", std::move(data));
}

void RunChange::TellThread(const pb::Thread& thread) {
  pb::RunEvent data;
  *data.mutable_thread() = thread;
  Tell("thread.created", std::move(data));
}

constexpr std::string_view kInsertStep =
    "INSERT INTO run_steps (tenant_id, run_id, id, seq, leg, body) "
    "VALUES ($1, $2, $3, $4::int, $5::int, $6::jsonb)";

absl::Status RunChange::OpenStep(pb::RunStep* step, int* place) {
  step->set_created_at(now_);
  step->set_run_id(run_.id());
  step->set_thread_id(run_.thread_id());
  step->set_assistant_id(run_.assistant_id());
  step->set_status(pb::RunStep::STATUS_IN_PROGRESS);
  if (place != nullptr) *place = next_step_;
  RETURN_IF_ERROR(tx_->Execute(kInsertStep,
                               {tenant_, run_.id(), step->id(), next_step_, leg_, ToJsonRow(*step)})
                      .status());
  ++next_step_;
  TellStep("created", *step);
  TellStep("in_progress", *step);
  return absl::OkStatus();
}

constexpr std::string_view kKeepStep =
    "UPDATE run_steps SET body = $4::jsonb "
    "WHERE tenant_id = $1 AND run_id = $2 AND id = $3 AND open";

absl::Status RunChange::KeepStep(const pb::RunStep& step) {
  return tx_->Execute(kKeepStep, {tenant_, run_.id(), step.id(), ToJsonRow(step)}).status();
}

constexpr std::string_view kCloseStep =
    "UPDATE run_steps SET open = false, body = $4::jsonb "
    "WHERE tenant_id = $1 AND run_id = $2 AND id = $3 AND open";

absl::Status RunChange::CloseStep(pb::RunStep* step) {
  std::string_view what;
  switch (step->status()) {
    case pb::RunStep::STATUS_COMPLETED:
      step->set_completed_at(now_);
      what = "completed";
      break;
    case pb::RunStep::STATUS_CANCELLED:
      step->set_cancelled_at(now_);
      what = "cancelled";
      break;
    case pb::RunStep::STATUS_EXPIRED:
      step->set_expired_at(now_);
      what = "expired";
      break;
    default:
      step->set_status(pb::RunStep::STATUS_FAILED);
      step->set_failed_at(now_);
      what = "failed";
      break;
  }
  ASSIGN_OR_RETURN(const Rows rows,
                   tx_->Execute(kCloseStep, {tenant_, run_.id(), step->id(), ToJsonRow(*step)}));
  if (rows.affected() != 1) return base::Internal("a run's step was closed twice");
  TellStep(what, *step);
  return absl::OkStatus();
}

// The holder keeps its lease while the run is in progress; otherwise the row is given back.
constexpr std::string_view kUpdateRun =
    "UPDATE runs SET status = $3, started_at = to_timestamp($4::bigint), "
    "ended_at = CASE WHEN $5::boolean THEN clock_timestamp() END, outcome = $6::jsonb, "
    "leg = $7::int, last_event_seq = $8::bigint, next_step = $9::int, "
    "lease_owner = CASE WHEN $10::boolean THEN lease_owner END, "
    "lease_until = CASE WHEN $10::boolean THEN lease_until END "
    "WHERE tenant_id = $1 AND id = $2";
constexpr std::string_view kDropTokens =
    "DELETE FROM run_tokens WHERE tenant_id = $1 AND run_id = $2";

absl::Status RunChange::Save() {
  const bool held = status() == pb::RUN_STATUS_IN_PROGRESS || status() == pb::RUN_STATUS_CANCELLING;
  const auto started =
      run_.has_started_at() ? std::optional<int64_t>(run_.started_at()) : std::nullopt;
  RETURN_IF_ERROR(tx_->Execute(kUpdateRun, {tenant_, run_.id(), RunStatusName(status()), started,
                                            IsTerminal(status()), OutcomeOf(run_), leg_,
                                            last_event_seq_, next_step_, held})
                      .status());
  RETURN_IF_ERROR(InsertEvents(*tx_, tenant_, run_.id(),
                               last_event_seq_ - static_cast<int64_t>(events_.size()) + 1,
                               events_));
  events_.clear();
  if (leg_ended_) {
    RETURN_IF_ERROR(tx_->Execute(kDropTokens, {tenant_, run_.id()}).status());
  }
  return absl::OkStatus();
}

constexpr std::string_view kInsertEvents =
    "INSERT INTO run_events (tenant_id, run_id, seq, event, payload) "
    "SELECT $1, $2, $3::bigint + place - 1, event, payload "
    "FROM unnest($4::text[], $5::bytea[]) WITH ORDINALITY AS told (event, payload, place)";

absl::Status InsertEvents(Transaction& tx, const std::string& tenant, const std::string& run_id,
                          int64_t first_seq, const std::vector<pb::RunEvent>& events) {
  if (events.empty()) return absl::OkStatus();
  std::string names = "{";
  std::string payloads = "{";
  for (const pb::RunEvent& event : events) {
    pb::RunEvent payload = event;  // seq and name have columns
    payload.clear_seq();
    payload.clear_event();
    const char* const comma = names.size() > 1 ? "," : "";
    absl::StrAppend(&names, comma, event.event());  // names of ours: nothing to quote
    absl::StrAppend(&payloads, comma, "\"\\\\x",
                    absl::BytesToHexString(payload.SerializeAsString()), "\"");
  }
  names += '}';
  payloads += '}';
  return tx.Execute(kInsertEvents, {tenant, run_id, first_seq, names, payloads}).status();
}

}  // namespace conclave::store
