#include "store/run_outcome.h"

#include "store/messages.h"
#include "store/rows.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

struct EarlyEnd {
  pb::RunStatus run;
  pb::RunStep::Status step;
  std::string_view message_reason;
};

constexpr EarlyEnd kEarlyEnds[] = {
    {pb::RUN_STATUS_CANCELLED, pb::RunStep::STATUS_CANCELLED, "run_cancelled"},
    {pb::RUN_STATUS_EXPIRED, pb::RunStep::STATUS_EXPIRED, "run_expired"},
    {pb::RUN_STATUS_FAILED, pb::RunStep::STATUS_FAILED, "run_failed"},
};

const EarlyEnd& FindEarlyEnd(pb::RunStatus status) {
  for (const EarlyEnd& end : kEarlyEnds) {
    if (end.run == status) return end;
  }
  return kEarlyEnds[2];
}

}  // namespace

constexpr std::string_view kOpenStep =
    "SELECT seq, body FROM run_steps WHERE tenant_id = $1 AND run_id = $2 AND open "
    "ORDER BY seq DESC LIMIT 1";
// What was told of a step comes after the step was created.
constexpr std::string_view kToldDeltas =
    "SELECT payload FROM run_events WHERE tenant_id = $1 AND run_id = $2 "
    "AND event IN ('thread.message.delta', 'thread.run.step.delta') "
    "AND seq > coalesce((SELECT max(seq) FROM run_events WHERE tenant_id = $1 AND run_id = $2 "
    "AND event = 'thread.run.step.created'), 0) ORDER BY seq";

bool AppendFragment(const pb::ToolCallFragment& fragment, std::vector<pb::ToolCall>* calls) {
  const auto index = static_cast<size_t>(fragment.index());
  if (fragment.index() < 0 || index > calls->size()) return false;
  if (index == calls->size()) calls->emplace_back();
  pb::ToolCall& call = (*calls)[index];
  if (!fragment.id().empty()) call.set_id(fragment.id());
  if (!fragment.name().empty()) call.set_name(fragment.name());
  call.mutable_arguments()->append(fragment.arguments());
  return true;
}

void SetStepCalls(const std::vector<pb::ToolCall>& calls, pb::RunStep* step) {
  step->clear_tool_calls();
  for (const pb::ToolCall& call : calls) *step->add_tool_calls()->mutable_call() = call;
}

absl::StatusOr<OpenStep> ReadOpenStep(Transaction& tx, const std::string& tenant,
                                      const std::string& run_id) {
  OpenStep open;
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kOpenStep, {tenant, run_id}));
  if (rows.empty()) return open;
  open.place = static_cast<int>(rows.Int(0, 0));
  RETURN_IF_ERROR(FromJsonRow(rows.Text(0, 1), &open.step));
  ASSIGN_OR_RETURN(const Rows deltas, tx.Execute(kToldDeltas, {tenant, run_id}));
  for (int i = 0; i < deltas.size(); ++i) {
    pb::RunEvent event;
    if (!event.ParseFromString(deltas.BytesAt(i, 0))) {
      return base::Internal("a row of run_events does not hold an event");
    }
    open.text += event.message_delta().text();
    for (const pb::ToolCallFragment& fragment : event.step_delta().tool_calls()) {
      if (!AppendFragment(fragment, &open.calls)) {
        return base::Internal("a run's events hold a tool call out of line");
      }
    }
  }
  return open;
}

pb::Message BeginMessage(const RunChange& change, const std::string& message_id) {
  pb::Message message;
  message.set_id(message_id);
  message.set_created_at(change.now());
  message.set_thread_id(change.kept().thread_id());
  message.set_role(pb::Message::ROLE_ASSISTANT);
  message.set_status(pb::Message::STATUS_IN_PROGRESS);
  message.set_assistant_id(change.kept().assistant_id());
  message.set_run_id(change.kept().id());
  return message;
}

absl::Status WriteMessage(Transaction& tx, RunChange& change, const OpenStep& open,
                          std::string_view incomplete_reason) {
  pb::Message message = BeginMessage(change, open.step.message_id());
  message.set_created_at(open.step.created_at());
  message.add_content()->mutable_text()->set_value(open.text);
  if (incomplete_reason.empty()) {
    message.set_status(pb::Message::STATUS_COMPLETED);
    message.set_completed_at(change.now());
  } else {
    message.set_status(pb::Message::STATUS_INCOMPLETE);
    message.set_incomplete_at(change.now());
    message.set_incomplete_reason(std::string(incomplete_reason));
  }
  RETURN_IF_ERROR(InsertRunMessage(tx, change.tenant(), message, open.place));
  change.TellMessage(incomplete_reason.empty() ? "completed" : "incomplete", message);
  return absl::OkStatus();
}

absl::Status EndEarly(Transaction& tx, RunChange& change, pb::RunStatus status,
                      const pb::RunError* error) {
  const EarlyEnd& end = FindEarlyEnd(status);
  ASSIGN_OR_RETURN(OpenStep open, ReadOpenStep(tx, change.tenant(), change.kept().id()));
  if (!open.step.id().empty()) {
    if (open.step.type() == pb::RunStep::TYPE_MESSAGE_CREATION) {
      RETURN_IF_ERROR(WriteMessage(tx, change, open, end.message_reason));
    } else if (open.step.tool_calls().empty()) {
      SetStepCalls(open.calls, &open.step);  // broken off before the calls were whole
    }
    open.step.set_status(end.step);
    if (error != nullptr) *open.step.mutable_last_error() = *error;
    RETURN_IF_ERROR(change.CloseStep(&open.step));
  }
  if (error != nullptr) change.SetError(*error);
  change.SetStatus(end.run);
  change.TellRun();
  return absl::OkStatus();
}

}  // namespace conclave::store
