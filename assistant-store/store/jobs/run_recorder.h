// Writes down what a leg of a run produces, so that every listener is told only what is committed
// and a successor can continue from there. A leg writes at most one message and then at most one
// step of tool calls.
//
// A batch is committed under the number of its last Delta; when the answer to a COMMIT is lost,
// writing it again fails on that number, which proves that it is there. So a batch does not change
// until its fate is known, and nothing is told twice.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "conclave/v1/inference.pb.h"
#include "store/db/transaction.h"
#include "store/jobs/conversation.h"
#include "store/jobs/run_control.h"
#include "store/run_change.h"
#include "store/run_outcome.h"
#include "store/run_signals.h"

namespace conclave::store {

// Used by one thread. All writes wait out a database that is away, until `control` says otherwise
// (then UNAVAILABLE). LeaseLost: stop, the run is not ours.
class RunRecorder final {
 public:
  struct Options {
    std::chrono::milliseconds lease{15'000};
    base::IdSource new_id = base::NewId;
  };

  RunRecorder(Database& database, const RunSignals& signals, RunControl& control, LeaseKey lease,
              const Options& options);

  // Takes the run up: it is in progress afterwards, unless it was to be cancelled or has expired
  // and is settled by this (ended()).
  absl::Status Begin();
  bool ended() const { return ended_; }
  const RunHistory& history() const { return history_; }
  const std::string& tenant() const { return lease_.tenant; }
  std::chrono::milliseconds expires_in() const { return expires_in_; }  // at the time of Begin

  // What the worker said when it accepted. FAILED_PRECONDITION: another revision of the model than
  // the one that generated the tokens so far.
  absl::Status Accept(const conclave::v1::Accepted& accepted);
  // Takes one Delta in; committed by the next Flush. INTERNAL when it does not fit the ones before.
  absl::Status Add(const conclave::v1::Delta& delta);
  bool has_news() const { return !text_.empty() || !fragments_.empty(); }  // to tell listeners
  size_t pending_tokens() const { return tokens_.size(); }
  bool pending() const { return has_news() || next_delta_seq_ != committed_delta_seq_; }
  absl::Status Flush();

  // Where the next attempt at the leg continues; for GenerateRequest.resume. Empty: at its
  // beginning.
  std::optional<conclave::v1::ResumeState> Resume() const;

  // The leg is over: completed, requires_action or incomplete, with all that was not flushed.
  absl::Status Finish(const conclave::v1::Finished& finished);
  // The run is to end as cancelled, expired or failed (then with its error).
  absl::Status End(conclave::v1::RunStatus status, const conclave::v1::RunError* error);
  // Incomplete without an answer: the run's own limit of prompt or completion tokens is used up.
  absl::Status EndAtLimit(std::string_view reason);

 private:
  using Body = std::function<absl::Status(Transaction&)>;
  // Runs a transaction until its outcome is known.
  absl::Status Persist(std::string_view op, const Body& body);

  absl::Status TakeUp(Transaction& tx);
  absl::Status ReadHistory(Transaction& tx, const RunChange& change);
  absl::Status ReadProgress(Transaction& tx, const RunChange& change);
  absl::Status WriteTokens(Transaction& tx);
  absl::Status WriteDeltas(Transaction& tx);
  // Brings `open` up to the pending batch within a change: opens and closes steps, tells deltas.
  absl::Status TellPending(Transaction& tx, RunChange& change, OpenStep* open);
  absl::Status OpenMessageStep(RunChange& change, OpenStep* open);
  absl::Status OpenToolStep(Transaction& tx, RunChange& change, OpenStep* open);
  absl::Status SettleMessage(Transaction& tx, RunChange& change, OpenStep* open,
                             const conclave::v1::Finished& finished);
  absl::Status SettleCalls(RunChange& change, OpenStep* open,
                           const conclave::v1::Finished& finished);
  bool NeedsStep() const;
  void Committed(OpenStep open);
  conclave::v1::Usage UsageSoFar() const;

  Database& database_;
  const RunSignals& signals_;
  RunControl& control_;
  const LeaseKey lease_;
  const Options options_;
  // Drawn once, so that a transaction that is run again writes the same.
  const std::string message_id_;
  const std::string message_step_id_;
  const std::string tool_step_id_;

  bool ended_ = false;
  std::chrono::milliseconds expires_in_{0};
  RunHistory history_;
  OpenStep open_;              // as committed
  std::vector<int32_t> done_;  // tokens committed
  int64_t committed_delta_seq_ = 0;
  std::string revision_;
  int prompt_tokens_ = 0;

  // The batch: what has come since the last commit.
  std::string text_;
  std::vector<conclave::v1::ToolCallFragment> fragments_;
  std::vector<int32_t> tokens_;
  int64_t next_delta_seq_ = 0;
  bool calls_begun_ = false;
};

}  // namespace conclave::store
