// How a leg of a run ends: its message is written, its step closed, its last events told. Shared by
// the executor and by those who end a run from outside (cancel, expiry).
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "conclave/v1/runs.pb.h"
#include "store/run_change.h"

namespace conclave::store {

// The step that is in progress, and what has been told of its message or calls so far.
struct OpenStep {
  conclave::v1::RunStep step;
  int place = 0;
  std::string text;                           // of a message
  std::vector<conclave::v1::ToolCall> calls;  // of a step of tool calls
};

// The open step of the run, or one with an empty id when there is none.
absl::StatusOr<OpenStep> ReadOpenStep(Transaction& tx, const std::string& tenant,
                                      const std::string& run_id);

// The message that the step writes, whole or broken off (`incomplete_reason` not empty), as a row
// and as an event.
absl::Status WriteMessage(Transaction& tx, RunChange& change, const OpenStep& open,
                          std::string_view incomplete_reason);

// An empty message of the run, as it is told when the step begins.
conclave::v1::Message BeginMessage(const RunChange& change, const std::string& message_id);

// Adds a fragment of a tool call to the calls; false when its index is out of line.
bool AppendFragment(const conclave::v1::ToolCallFragment& fragment,
                    std::vector<conclave::v1::ToolCall>* calls);

// Puts the calls into the step as it is kept and told.
void SetStepCalls(const std::vector<conclave::v1::ToolCall>& calls, conclave::v1::RunStep* step);

// Ends a run that is not to go on, as cancelled, expired or failed: what it has said is kept as an
// incomplete message. Does not Save.
absl::Status EndEarly(Transaction& tx, RunChange& change, conclave::v1::RunStatus status,
                      const conclave::v1::RunError* error);

}  // namespace conclave::store
