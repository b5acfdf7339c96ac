#include "store/db/transaction.h"

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace conclave::store {
namespace {

constexpr std::string_view kBegin = "BEGIN";
constexpr std::string_view kCommit = "COMMIT";
constexpr std::string_view kRollback = "ROLLBACK";
constexpr std::string_view kTransactionId = "SELECT pg_current_xact_id()::text";
constexpr std::string_view kTransactionOutcome = "SELECT pg_xact_status($1::xid8)";

constexpr int kOutcomeAttempts = 8;
constexpr std::chrono::milliseconds kOutcomePause{100};

base::SteadyTime After(std::chrono::milliseconds timeout) {
  return std::chrono::steady_clock::now() + timeout;
}

bool WorthRetrying(const Connection& connection) {
  const std::string& state = connection.sqlstate();
  return connection.broken() || state == "40001" || state == "40P01" || state == "57P01" ||
         state.compare(0, 2, "08") == 0;
}

}  // namespace

absl::StatusOr<Rows> Transaction::Execute(std::string_view sql, const Params& params) {
  if (!id_.empty()) return connection_.Execute(sql, params, deadline_);
  const Params none;
  const Statement statements[] = {{kBegin, none}, {kTransactionId, none}, {sql, params}};
  ASSIGN_OR_RETURN(std::vector<Rows> rows, connection_.ExecuteAll(statements, deadline_));
  id_ = rows[1].String(0, 0);
  return std::move(rows[2]);
}

Database::Database(Options options) : options_(std::move(options)), pool_(options_.pool) {}

absl::Status Database::Transact(std::string_view op,
                                absl::FunctionRef<absl::Status(Transaction&)> body) {
  const base::SteadyTime start = std::chrono::steady_clock::now();
  Attempt attempt = Try(op, body, /*last=*/false);
  if (attempt.retry) attempt = Try(op, body, /*last=*/true);
  if (options_.observer) {
    options_.observer(op, base::MillisBetween(start, std::chrono::steady_clock::now()) / 1000,
                      attempt.status);
  }
  return attempt.status;
}

absl::Status Database::FaultAt(std::string_view op, Options::Point point) const {
  return options_.fault ? options_.fault(op, point) : absl::OkStatus();
}

Database::Attempt Database::Try(std::string_view op,
                                absl::FunctionRef<absl::Status(Transaction&)> body, bool last) {
  if (absl::Status fault = FaultAt(op, Options::Point::kBeforeBegin); !fault.ok()) return {fault};
  absl::StatusOr<Pool::Lease> lease = pool_.Take(After(options_.acquire_timeout));
  if (!lease.ok()) return {std::move(lease).status()};
  Connection& connection = **lease;
  const base::SteadyTime deadline = After(options_.attempt_timeout);
  Transaction transaction(connection, deadline);
  if (absl::Status status = body(transaction); !status.ok()) {
    const bool retry = !last && WorthRetrying(connection);
    if (!connection.broken() && connection.in_transaction()) {
      (void)connection.Execute(kRollback, {}, deadline);
    }
    return {std::move(status), retry};
  }
  if (absl::Status fault = FaultAt(op, Options::Point::kBeforeCommit); !fault.ok()) return {fault};
  Attempt attempt = Commit(connection, transaction);
  if (absl::Status fault = FaultAt(op, Options::Point::kAfterCommit); !fault.ok()) return {fault};
  attempt.retry = attempt.retry && !last;
  return attempt;
}

Database::Attempt Database::Commit(Connection& connection, const Transaction& transaction) {
  // COMMIT would roll back and say that all is well.
  if (connection.transaction_failed()) return {base::Internal("a failed statement was ignored")};
  if (transaction.id_.empty()) return {absl::OkStatus()};  // it asked nothing
  absl::StatusOr<Rows> committed = connection.Execute(kCommit, {}, transaction.deadline_);
  if (committed.ok()) return {absl::OkStatus()};
  if (!connection.broken() && connection.sqlstate().compare(0, 3, "57P") != 0) {
    return {std::move(committed).status(), WorthRetrying(connection)};
  }
  // The answer to COMMIT was lost. The server knows what became of the transaction.
  absl::Status outcome = AskOutcome(transaction.id_);
  const bool aborted = outcome.code() == absl::StatusCode::kAborted;
  return {std::move(outcome), aborted};
}

absl::Status Database::AskOutcome(const std::string& transaction_id) {
  for (int i = 0; i < kOutcomeAttempts; ++i) {
    if (i > 0) std::this_thread::sleep_for(kOutcomePause);
    // A fresh connection: the pool's may be of the time before the loss.
    absl::StatusOr<std::unique_ptr<Connection>> fresh = Dedicated();
    if (!fresh.ok()) continue;
    const absl::StatusOr<Rows> rows =
        (*fresh)->Execute(kTransactionOutcome, {transaction_id}, After(options_.acquire_timeout));
    if (!rows.ok() || rows->empty()) continue;
    if (rows->Text(0, 0) == "committed") return absl::OkStatus();
    if (rows->Text(0, 0) == "aborted") return absl::AbortedError("database: the commit was lost");
  }
  return base::WithReason(
      base::Unavailable("database: connection lost during commit, outcome unknown"),
      "outcome_unknown");
}

absl::StatusOr<Rows> Database::Query(std::string_view op, std::string_view sql,
                                     const Params& params) {
  const base::SteadyTime start = std::chrono::steady_clock::now();
  absl::StatusOr<Rows> rows = absl::UnavailableError("database: not tried");
  for (int attempt = 0; attempt < 2; ++attempt) {
    absl::StatusOr<Pool::Lease> lease = pool_.Take(After(options_.acquire_timeout));
    if (!lease.ok()) {
      rows = std::move(lease).status();
      break;
    }
    rows = (*lease)->Execute(sql, params, After(options_.attempt_timeout));
    if (rows.ok() || !WorthRetrying(**lease)) break;
  }
  if (options_.observer) {
    options_.observer(op, base::MillisBetween(start, std::chrono::steady_clock::now()) / 1000,
                      rows.status());
  }
  return rows;
}

absl::StatusOr<std::unique_ptr<Connection>> Database::Dedicated() {
  return Connection::Open(options_.pool.conninfo, After(options_.acquire_timeout));
}

absl::Status Database::Ping() { return Query("ping", "SELECT 1").status(); }

}  // namespace conclave::store
