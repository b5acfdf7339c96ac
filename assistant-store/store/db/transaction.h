// Transactions: the one door to the database for the rest of the store.
//
//   absl::Status status = database.Transact("create_run", [&](Transaction& tx) -> absl::Status {
//     ASSIGN_OR_RETURN(Rows rows, tx.Execute(kLockThread, {tenant, thread_id}));
//     …
//   });
//
// The body may run twice: once more when the first attempt provably changed nothing (deadlock,
// serialisation failure, connection lost before COMMIT, or after it with the server saying that the
// transaction aborted). It must therefore set its outputs afresh on each run. An error from the
// body rolls back and is passed on.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/db/pool.h"

namespace conclave::store {

class Transaction final {
 public:
  absl::StatusOr<Rows> Execute(std::string_view sql, const Params& params = {});

 private:
  friend class Database;
  Transaction(Connection& connection, base::SteadyTime deadline)
      : connection_(connection), deadline_(deadline) {}
  Connection& connection_;
  const base::SteadyTime deadline_;
  // By which the server knows what became of it. Empty until the first statement, which BEGIN goes
  // along with.
  std::string id_;
};

// Thread-safe.
class Database final {
 public:
  struct Options {
    Pool::Options pool;
    // How long a call waits for a connection before it is refused with UNAVAILABLE.
    std::chrono::milliseconds acquire_timeout{900};
    // How long one attempt may take; beyond the server's own statement_timeout of 5 s.
    std::chrono::milliseconds attempt_timeout{6000};
    // Told after every transaction and query; for metrics. Must be thread-safe.
    std::function<void(std::string_view op, double seconds, const absl::Status&)> observer;
    // For tests: an error at a point of a transaction is what the caller gets, as if the connection
    // or the process had been lost there. At kAfterCommit the transaction is committed all the
    // same.
    enum class Point { kBeforeBegin, kBeforeCommit, kAfterCommit };
    std::function<absl::Status(std::string_view op, Point)> fault;
  };

  explicit Database(Options options);

  // `op` names the transaction in metrics. UNAVAILABLE with "outcome unknown" when the connection
  // was lost during COMMIT and the server could not be asked in time what became of it.
  absl::Status Transact(std::string_view op, absl::FunctionRef<absl::Status(Transaction&)> body);

  // One reading statement, without BEGIN and COMMIT.
  absl::StatusOr<Rows> Query(std::string_view op, std::string_view sql, const Params& params = {});

  // A connection of its own for work that is not a transaction (migrations).
  absl::StatusOr<std::unique_ptr<Connection>> Dedicated();

  // UNAVAILABLE when the server cannot be reached; for readiness probes.
  absl::Status Ping();

 private:
  struct Attempt {
    absl::Status status;
    bool retry = false;  // nothing was committed, and another try may succeed
  };
  Attempt Try(std::string_view op, absl::FunctionRef<absl::Status(Transaction&)> body, bool last);
  absl::Status FaultAt(std::string_view op, Options::Point point) const;
  Attempt Commit(Connection& connection, const Transaction& transaction);
  // OK committed, ABORTED not, UNAVAILABLE nobody knows.
  absl::Status AskOutcome(const std::string& transaction_id);

  const Options options_;
  Pool pool_;
};

}  // namespace conclave::store
