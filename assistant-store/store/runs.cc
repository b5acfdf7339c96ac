#include "store/runs.h"

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "store/assistants.h"
#include "store/messages.h"
#include "store/objects.h"
#include "store/paging.h"
#include "store/rows.h"
#include "store/run_change.h"
#include "store/run_outcome.h"
#include "store/run_request.h"
#include "store/threads.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

struct NewRun {
  std::string tenant;
  std::string thread_id;
  std::string run_id;
  std::chrono::seconds expires_after;
};

absl::StatusOr<pb::RunStep> StepFromRow(const Rows& rows, int row) {
  pb::RunStep step;
  RETURN_IF_ERROR(FromJsonRow(rows.Text(row, 1), &step));
  return step;
}

}  // namespace

constexpr std::string_view kInsertRun =
    "INSERT INTO runs (tenant_id, id, thread_id, expires_at, params, metadata) "
    "VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4::int), $5::jsonb, $6::jsonb)";

// The transaction holds the thread's lock. `thread` (may be null) is told first.
static absl::StatusOr<pb::Run> InsertRun(Transaction& tx, const NewRun& place,
                                         const pb::CreateRunRequest& request,
                                         const pb::Thread* thread) {
  ASSIGN_OR_RETURN(const std::string active, ActiveRun(tx, place.tenant, place.thread_id));
  if (!active.empty()) {
    return base::FailedPrecondition(
        absl::StrCat("Thread ", place.thread_id, " already has an active run ", active, "."));
  }
  ASSIGN_OR_RETURN(const pb::Assistant assistant,
                   ReadAssistant(tx, place.tenant, request.assistant_id()));
  ASSIGN_OR_RETURN(const pb::Run params, RunParams(request, assistant));
  RETURN_IF_ERROR(tx.Execute(kInsertRun, {place.tenant, place.run_id, place.thread_id,
                                          place.expires_after.count(), ToJsonRow(params),
                                          MapToJson(request.metadata())})
                      .status());
  ASSIGN_OR_RETURN(RunChange change,
                   RunChange::Begin(tx, place.tenant, place.thread_id, place.run_id));
  if (thread != nullptr) change.TellThread(*thread);
  pb::Run run = change.Told();
  run.set_event_seq(0);
  pb::RunEvent created;
  *created.mutable_run() = run;
  change.Tell("thread.run.created", std::move(created));
  change.TellRun();
  RETURN_IF_ERROR(change.Save());
  return run;
}

absl::StatusOr<pb::Run> Runs::Create(const pb::CreateRunRequest& request) {
  RETURN_IF_ERROR(CheckRunRequest(request));
  const NewRun place{TenantOf(request.meta()), request.thread_id(), new_id_("run_"),
                     options_.expires_after};
  pb::Run run;
  RETURN_IF_ERROR(database_.Transact("create_run", [&](Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(LockThread(tx, place.tenant, place.thread_id));
    ASSIGN_OR_RETURN(run, InsertRun(tx, place, request, nullptr));
    for (const pb::Message& message : request.additional_messages()) {
      RETURN_IF_ERROR(
          InsertGivenMessage(tx, place.tenant, place.thread_id, message, new_id_).status());
    }
    return absl::OkStatus();
  }));
  signals_.Queued(run.id());
  return run;
}

absl::StatusOr<pb::Run> Runs::CreateWithThread(const pb::CreateThreadAndRunRequest& request) {
  RETURN_IF_ERROR(CheckRunRequest(request.run()));
  RETURN_IF_ERROR(CheckNewThread(request.thread()));
  pb::Run run;
  RETURN_IF_ERROR(database_.Transact("create_thread_and_run", [&](Transaction& tx) -> absl::Status {
    const std::string tenant = TenantOf(request.run().meta());
    ASSIGN_OR_RETURN(const pb::Thread thread, InsertThread(tx, tenant, request.thread(), new_id_));
    for (const pb::Message& message : request.run().additional_messages()) {
      RETURN_IF_ERROR(InsertGivenMessage(tx, tenant, thread.id(), message, new_id_).status());
    }
    const NewRun place{tenant, thread.id(), new_id_("run_"), options_.expires_after};
    ASSIGN_OR_RETURN(run, InsertRun(tx, place, request.run(), &thread));
    return absl::OkStatus();
  }));
  signals_.Queued(run.id());
  return run;
}

absl::StatusOr<pb::Run> Runs::Get(const pb::GetRunRequest& request) {
  static const std::string sql =
      absl::StrCat("SELECT ", base::Abs(kRunColumns),
                   " FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND id = $3");
  ASSIGN_OR_RETURN(const Rows rows,
                   database_.Query("get_run", sql,
                                   {TenantOf(request.meta()), request.thread_id(), request.id()}));
  if (rows.empty()) return NoSuchObject("run", request.id());
  ASSIGN_OR_RETURN(pb::Run run, RunFromRow(rows, 0));
  return ToldRun(std::move(run));
}

constexpr std::string_view kThreadExists = "SELECT 1 FROM threads WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::ListRunsReply> Runs::List(const pb::ListRunsRequest& request) {
  static const std::string select = absl::StrCat("SELECT ", base::Abs(kRunColumns), " FROM runs");
  const ListSource source{.op = "list_runs",
                          .select = select,
                          .table = "runs",
                          .where = "tenant_id = $1 AND thread_id = $2",
                          .key = "created_at, id"};
  const Params where = {TenantOf(request.meta()), request.thread_id()};
  ASSIGN_OR_RETURN(const Rows thread, database_.Query("list_runs", kThreadExists, where));
  if (thread.empty()) return NoSuchObject("thread", request.thread_id());
  const auto from_row = [](const Rows& rows, int row) -> absl::StatusOr<pb::Run> {
    ASSIGN_OR_RETURN(pb::Run run, RunFromRow(rows, row));
    return ToldRun(std::move(run));
  };
  return ListReply<pb::ListRunsReply>(database_, source, where, request.page(), from_row);
}

constexpr std::string_view kSetRunMetadata =
    "UPDATE runs SET metadata = $4::jsonb WHERE tenant_id = $1 AND thread_id = $2 AND id = $3 "
    "RETURNING ";

absl::StatusOr<pb::Run> Runs::Modify(const pb::ModifyRunRequest& request) {
  RETURN_IF_ERROR(CheckMetadata(request.metadata()));
  static const std::string sql = absl::StrCat(base::Abs(kSetRunMetadata), base::Abs(kRunColumns));
  pb::Run run;
  RETURN_IF_ERROR(database_.Transact("modify_run", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows,
                     tx.Execute(sql, {TenantOf(request.meta()), request.thread_id(), request.id(),
                                      MapToJson(request.metadata())}));
    if (rows.empty()) return NoSuchObject("run", request.id());
    ASSIGN_OR_RETURN(run, RunFromRow(rows, 0));
    return absl::OkStatus();
  }));
  return ToldRun(std::move(run));
}

absl::StatusOr<pb::Run> Runs::Cancel(const pb::CancelRunRequest& request) {
  pb::Run run;
  RETURN_IF_ERROR(database_.Transact("cancel_run", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(RunChange change, RunChange::Begin(tx, TenantOf(request.meta()),
                                                        request.thread_id(), request.id()));
    const int64_t seq_before = change.last_event_seq();
    if (IsTerminal(change.status())) {
      return base::FailedPrecondition(absl::StrCat(
          "Cannot cancel run with status '", base::Abs(RunStatusName(change.status())), "'."));
    }
    if (change.status() == pb::RUN_STATUS_IN_PROGRESS) {
      change.SetStatus(pb::RUN_STATUS_CANCELLING);
      change.TellRun();
      RETURN_IF_ERROR(change.Save());
    } else if (change.status() != pb::RUN_STATUS_CANCELLING) {
      RETURN_IF_ERROR(EndEarly(tx, change, pb::RUN_STATUS_CANCELLED, nullptr));
      RETURN_IF_ERROR(change.Save());
    }
    run = change.Told();
    run.set_event_seq(seq_before);
    return absl::OkStatus();
  }));
  if (run.status() == pb::RUN_STATUS_CANCELLING) signals_.Cancelling(run.id());
  signals_.Told(run.id());
  return run;
}

// The outputs go to the calls of the step that waits for them.
static absl::Status AnswerStep(Transaction& tx, RunChange& change,
                               const pb::SubmitToolOutputsRequest& request) {
  ASSIGN_OR_RETURN(OpenStep open, ReadOpenStep(tx, change.tenant(), change.kept().id()));
  if (open.step.type() != pb::RunStep::TYPE_TOOL_CALLS) {
    return base::Internal("a run requires action without a step that asks for it");
  }
  for (pb::StepToolCall& call : *open.step.mutable_tool_calls()) {
    for (const pb::ToolOutput& output : request.tool_outputs()) {
      if (output.tool_call_id() == call.call().id()) call.set_output(output.output());
    }
  }
  open.step.set_status(pb::RunStep::STATUS_COMPLETED);
  return change.CloseStep(&open.step);
}

absl::StatusOr<pb::Run> Runs::SubmitToolOutputs(const pb::SubmitToolOutputsRequest& request) {
  pb::Run run;
  RETURN_IF_ERROR(database_.Transact("submit_tool_outputs", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(RunChange change, RunChange::Begin(tx, TenantOf(request.meta()),
                                                        request.thread_id(), request.id()));
    const int64_t seq_before = change.last_event_seq();
    if (change.status() != pb::RUN_STATUS_REQUIRES_ACTION || change.past_expiry()) {
      const std::string_view status = change.status() == pb::RUN_STATUS_REQUIRES_ACTION
                                          ? "expired"
                                          : RunStatusName(change.status());
      return base::FailedPrecondition(
          absl::StrCat("Runs in status \"", base::Abs(status), "\" do not accept tool outputs."));
    }
    RETURN_IF_ERROR(CheckToolOutputs(change.kept().required_tool_calls(), request.tool_outputs()));
    RETURN_IF_ERROR(AnswerStep(tx, change, request));
    change.SetRequiredToolCalls({});
    change.BeginNextLeg();
    change.SetStatus(pb::RUN_STATUS_QUEUED);
    change.TellRun();
    RETURN_IF_ERROR(change.Save());
    run = change.Told();
    run.set_event_seq(seq_before);
    return absl::OkStatus();
  }));
  signals_.Told(run.id());
  signals_.Queued(run.id());
  return run;
}

constexpr std::string_view kRunExists =
    "SELECT 1 FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND id = $3";
constexpr ListSource kListSteps = {.op = "list_run_steps",
                                   .select = "SELECT id, body FROM run_steps",
                                   .table = "run_steps",
                                   .where = "tenant_id = $1 AND run_id = $2",
                                   .key = "seq"};

absl::StatusOr<pb::ListRunStepsReply> Runs::ListSteps(const pb::ListRunStepsRequest& request) {
  const std::string tenant = TenantOf(request.meta());
  ASSIGN_OR_RETURN(const Rows run,
                   database_.Query("list_run_steps", kRunExists,
                                   {tenant, request.thread_id(), request.run_id()}));
  if (run.empty()) return NoSuchObject("run", request.run_id());
  return ListReply<pb::ListRunStepsReply>(database_, kListSteps, {tenant, request.run_id()},
                                          request.page(), StepFromRow);
}

constexpr std::string_view kGetStep =
    "SELECT s.id, s.body FROM run_steps s JOIN runs r ON r.tenant_id = s.tenant_id "
    "AND r.id = s.run_id WHERE s.tenant_id = $1 AND r.thread_id = $2 AND s.run_id = $3 "
    "AND s.id = $4";

absl::StatusOr<pb::RunStep> Runs::GetStep(const pb::GetRunStepRequest& request) {
  ASSIGN_OR_RETURN(const Rows rows, database_.Query("get_run_step", kGetStep,
                                                    {TenantOf(request.meta()), request.thread_id(),
                                                     request.run_id(), request.id()}));
  if (rows.empty()) return NoSuchObject("run step", request.id());
  return StepFromRow(rows, 0);
}

constexpr std::string_view kRunState =
    "SELECT status, last_event_seq FROM runs WHERE tenant_id = $1 AND thread_id = $2 AND id = $3";
constexpr std::string_view kReadEvents =
    "SELECT seq, event, payload FROM run_events WHERE tenant_id = $1 AND run_id = $2 "
    "AND seq > $3::bigint ORDER BY seq LIMIT $4::bigint";

absl::StatusOr<RunEvents> Runs::ReadEvents(const std::string& tenant, const std::string& thread_id,
                                           const std::string& run_id, int64_t after_seq,
                                           int count_max) {
  // The state first: what it says is then a lower bound for the events.
  ASSIGN_OR_RETURN(const Rows state,
                   database_.Query("read_run_events", kRunState, {tenant, thread_id, run_id}));
  if (state.empty()) return NoSuchObject("run", run_id);
  const int64_t last_seq = state.Int(0, 1);
  RunEvents result;
  int64_t reached = after_seq;
  if (last_seq > after_seq) {
    ASSIGN_OR_RETURN(const Rows rows, database_.Query("read_run_events", kReadEvents,
                                                      {tenant, run_id, after_seq, count_max}));
    for (int i = 0; i < rows.size(); ++i) {
      pb::RunEvent& event = result.events.emplace_back();
      if (!event.ParseFromString(rows.BytesAt(i, 2))) {
        return base::Internal("a row of run_events does not hold an event");
      }
      event.set_seq(rows.Int(i, 0));
      event.set_event(rows.String(i, 1));
      reached = event.seq();
    }
  }
  // A later state may have followed since; then the events reach past last_seq, and more may come.
  result.at_end = IsAtRest(RunStatusFromName(state.Text(0, 0))) && reached == last_seq;
  if (after_seq > last_seq) {
    return base::WithParam(base::InvalidArgument("after_seq: the run has not come that far"),
                           "after_seq");
  }
  return result;
}

}  // namespace conclave::store
