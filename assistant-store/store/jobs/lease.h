// Leases: which replica executes which run. A row says who holds it, until when (by the database's
// clock), and a fence that every taking raises; a holder that comes too late finds its fence gone.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/status.h"
#include "store/db/transaction.h"
#include "store/run_change.h"

namespace conclave::store {

// What renewing found out about one run.
struct LeaseState {
  std::string run_id;
  bool lost = false;  // somebody else has it, or it is gone
  bool cancelling = false;
};

// Thread-safe.
class Leases final {
 public:
  // `owner` names this replica in the rows; for people.
  Leases(Database& database, std::string owner, std::chrono::milliseconds duration)
      : database_(database), owner_(std::move(owner)), duration_(duration) {}

  // Takes at most `count_max` runs: queued ones, and those whose holder has been silent for too
  // long. Oldest first.
  absl::StatusOr<std::vector<LeaseKey>> Claim(int count_max);

  // Asks after the runs and, when `extend`, begins their time anew. A run that is just being
  // written to is left as it is.
  absl::StatusOr<std::vector<LeaseState>> Renew(const std::vector<LeaseKey>& leases, bool extend);

  // Lets another replica take the run at once. OK also when it was lost before.
  absl::Status Release(const LeaseKey& lease);

  std::chrono::milliseconds duration() const { return duration_; }

 private:
  Database& database_;
  const std::string owner_;
  const std::chrono::milliseconds duration_;
};

// Runs that wait for nobody in particular and whose time is over: queued or waiting for the caller.
// Each is ended as expired; returns their ids.
absl::StatusOr<std::vector<std::string>> ExpireRuns(Database& database);

}  // namespace conclave::store
