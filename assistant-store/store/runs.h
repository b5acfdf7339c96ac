// Runs as callers handle them: create, look at, cancel, answer tool calls. Executing them is
// jobs/run_executor's.
#pragma once

#include <chrono>

#include "base/ids.h"
#include "base/status.h"
#include "conclave/v1/runs.pb.h"
#include "store/db/transaction.h"
#include "store/run_signals.h"

namespace conclave::store {

struct RunOptions {
  // A run that has not ended this long after its creation expires.
  std::chrono::seconds expires_after{600};
};

// Events of a run after some seq, and whether more may come.
struct RunEvents {
  std::vector<conclave::v1::RunEvent> events;
  bool at_end = false;  // the run rests, and these are its last events
};

// Thread-safe. Errors: INVALID_ARGUMENT with the field, NOT_FOUND, FAILED_PRECONDITION when the
// state of the run or thread does not allow it, UNAVAILABLE.
class Runs final {
 public:
  Runs(Database& database, const RunSignals& signals, RunOptions options = {},
       base::IdSource new_id = base::NewId)
      : database_(database), signals_(signals), options_(options), new_id_(std::move(new_id)) {}

  absl::StatusOr<conclave::v1::Run> Create(const conclave::v1::CreateRunRequest& request);
  absl::StatusOr<conclave::v1::Run> CreateWithThread(
      const conclave::v1::CreateThreadAndRunRequest& request);
  absl::StatusOr<conclave::v1::Run> Get(const conclave::v1::GetRunRequest& request);
  absl::StatusOr<conclave::v1::ListRunsReply> List(const conclave::v1::ListRunsRequest& request);
  absl::StatusOr<conclave::v1::Run> Modify(const conclave::v1::ModifyRunRequest& request);
  // Queued and waiting runs are cancelled at once, one in progress within a moment.
  absl::StatusOr<conclave::v1::Run> Cancel(const conclave::v1::CancelRunRequest& request);
  absl::StatusOr<conclave::v1::Run> SubmitToolOutputs(
      const conclave::v1::SubmitToolOutputsRequest& request);
  absl::StatusOr<conclave::v1::ListRunStepsReply> ListSteps(
      const conclave::v1::ListRunStepsRequest& request);
  absl::StatusOr<conclave::v1::RunStep> GetStep(const conclave::v1::GetRunStepRequest& request);

  // At most `count_max` events after `after_seq`.
  absl::StatusOr<RunEvents> ReadEvents(const std::string& tenant, const std::string& thread_id,
                                       const std::string& run_id, int64_t after_seq, int count_max);

 private:
  Database& database_;
  const RunSignals& signals_;
  const RunOptions options_;
  const base::IdSource new_id_;
};

}  // namespace conclave::store
