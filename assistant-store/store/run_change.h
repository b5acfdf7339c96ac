// One change of one run: locks it, lets its state, steps and events be altered, and writes the
// whole of it, so that a state and the event that tells it are never seen apart.
//
//   ASSIGN_OR_RETURN(RunChange change, RunChange::Begin(tx, tenant, thread_id, run_id));
//   change.SetStatus(pb::RUN_STATUS_CANCELLING);
//   change.TellRun();
//   RETURN_IF_ERROR(change.Save());
//
// Lives inside one transaction. Times are the database's.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "conclave/v1/runs.pb.h"
#include "store/db/transaction.h"

namespace conclave::store {

// "in_progress" ⇄ RUN_STATUS_IN_PROGRESS; UNSPECIFIED for anything else.
std::string_view RunStatusName(conclave::v1::RunStatus status);
conclave::v1::RunStatus RunStatusFromName(std::string_view name);
// Completed, incomplete, failed, cancelled, expired: nothing follows.
bool IsTerminal(conclave::v1::RunStatus status);
// Terminal, or waiting for the caller: a listener has heard all there is.
bool IsAtRest(conclave::v1::RunStatus status);

// Who holds a run. Every write of the holder names the fence; once somebody else has taken the run
// over, such a write finds no row.
struct LeaseKey {
  std::string tenant;
  std::string thread_id;
  std::string run_id;
  int64_t fence = 0;
};

// ABORTED with this reason: the run is somebody else's, at rest, or gone.
inline constexpr std::string_view kLeaseLost = "lease_lost";
absl::Status LeaseLost(const LeaseKey& lease);

class RunChange final {
 public:
  // Locks the thread and the run. NOT_FOUND.
  static absl::StatusOr<RunChange> Begin(Transaction& tx, const std::string& tenant,
                                         const std::string& thread_id, const std::string& run_id);
  // The same for the holder of a lease; LeaseLost otherwise.
  static absl::StatusOr<RunChange> BeginLeased(Transaction& tx, const LeaseKey& lease);

  const std::string& tenant() const { return tenant_; }
  conclave::v1::RunStatus status() const { return run_.status(); }
  int leg() const { return leg_; }
  int64_t fence() const { return fence_; }
  int64_t last_event_seq() const { return last_event_seq_; }
  int64_t now() const { return now_; }  // Unix seconds
  std::chrono::milliseconds expires_in() const { return expires_in_; }
  bool past_expiry() const { return expires_in_.count() <= 0; }

  // The run as a caller sees it at this moment: no usage before its end, no expiry after it.
  conclave::v1::Run Told() const;
  // The run as it is kept: with the usage so far.
  const conclave::v1::Run& kept() const { return run_; }

  // The time that goes with the status is set; the trigger refuses illegal changes on Save.
  void SetStatus(conclave::v1::RunStatus status);
  void SetError(const conclave::v1::RunError& error);
  void SetIncompleteReason(std::string_view reason);
  void AddUsage(const conclave::v1::Usage& usage);
  void SetRequiredToolCalls(const std::vector<conclave::v1::ToolCall>& calls);
  void BeginNextLeg();

  // "thread.run." + status, with the run.
  void TellRun();
  void TellStep(std::string_view what, const conclave::v1::RunStep& step);  // "completed"
  void TellMessage(std::string_view what, const conclave::v1::Message& message);
  void TellMessageDelta(const std::string& message_id, std::string text);
  void TellStepDelta(const std::string& step_id,
                     const std::vector<conclave::v1::ToolCallFragment>& fragments);
  void TellThread(const conclave::v1::Thread& thread);
  void Tell(std::string_view event, conclave::v1::RunEvent data);

  // Writes a new step, in progress, and tells created and in_progress. The step gets its time and
  // place; its id and details are given. `place` (may be null) is its number within the run.
  absl::Status OpenStep(conclave::v1::RunStep* step, int* place);
  // Writes new contents of a step that stays in progress; tells nothing.
  absl::Status KeepStep(const conclave::v1::RunStep& step);
  // Writes a step that is no longer in progress, with the time that goes with its status, and
  // tells.
  absl::Status CloseStep(conclave::v1::RunStep* step);

  // Writes the run and the events.
  absl::Status Save();

 private:
  RunChange(Transaction& tx, std::string tenant) : tx_(&tx), tenant_(std::move(tenant)) {}
  static absl::StatusOr<RunChange> Read(Transaction& tx, const std::string& tenant,
                                        const Rows& rows);

  Transaction* tx_;
  std::string tenant_;
  conclave::v1::Run run_;
  int leg_ = 1;
  int next_step_ = 1;
  int64_t fence_ = 0;
  int64_t last_event_seq_ = 0;
  int64_t now_ = 0;
  std::chrono::milliseconds expires_in_{0};
  bool leg_ended_ = false;
  std::vector<conclave::v1::RunEvent> events_;
};

// Reads a run without locking it, as a caller sees it. NOT_FOUND.
inline constexpr std::string_view kRunColumns =
    "id, thread_id, extract(epoch FROM created_at)::bigint, status, "
    "extract(epoch FROM expires_at)::bigint, extract(epoch FROM started_at)::bigint, "
    "extract(epoch FROM ended_at)::bigint, params, metadata, outcome, leg, last_event_seq, "
    "next_step, fence, extract(epoch FROM clock_timestamp())::bigint, "
    "floor(extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint";
absl::StatusOr<conclave::v1::Run> RunFromRow(const Rows& rows, int row);
// What callers do not see at this stage is taken out.
conclave::v1::Run ToldRun(conclave::v1::Run run);

// Appends events that change nothing else; seq and the rows of run_events. The caller holds the
// run's lock and has raised last_event_seq to `first_seq` + events.size() - 1.
absl::Status InsertEvents(Transaction& tx, const std::string& tenant, const std::string& run_id,
                          int64_t first_seq, const std::vector<conclave::v1::RunEvent>& events);

}  // namespace conclave::store
