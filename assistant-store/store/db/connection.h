// One connection to PostgreSQL, over libpq's non-blocking half: every wait has a deadline of ours,
// so a server that is stopped or cut off costs a caller its deadline and not a TCP timeout.
// (libpqxx offers only the blocking half, which is why it is not used.)
//
// The state of a connection after an error is what makes a retry safe or not: broken() says that
// the server's answer did not arrive.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "store/db/result.h"

namespace conclave::store {

// A statement with its parameters; both are borrowed for the call.
struct Statement {
  std::string_view sql;
  const Params& params;
};

// Thread-compatible: used by one thread at a time.
class Connection final {
 public:
  // UNAVAILABLE when the server does not answer before the deadline or refuses.
  // Limits are set on the session: statement_timeout 5 s, lock_timeout 1 s,
  // idle_in_transaction_session_timeout 10 s; an acknowledged commit is on disk.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& conninfo,
                                                          base::SteadyTime deadline);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  // Runs one statement, prepared on first use; `sql` is one of a bounded set of texts. Errors by
  // SQLSTATE: see StatusFromSqlState.
  absl::StatusOr<Rows> Execute(std::string_view sql, const Params& params,
                               base::SteadyTime deadline);
  // The same for several statements in one round trip. After an error the later ones are not run,
  // and the error is that of the first that failed.
  absl::StatusOr<std::vector<Rows>> ExecuteAll(std::span<const Statement> statements,
                                               base::SteadyTime deadline);
  // Runs a script of several statements without parameters (migrations).
  absl::Status ExecuteScript(const std::string& sql, base::SteadyTime deadline);

  // The link is gone, or an answer did not come in time: this object is of no further use.
  bool broken() const;
  bool in_transaction() const;
  // In a transaction that can only be rolled back.
  bool transaction_failed() const;
  // Of the last error; empty when it was not one of the server's.
  const std::string& sqlstate() const { return sqlstate_; }

 private:
  explicit Connection(PGconn* pg) : pg_(pg) {}

  absl::Status WaitSocket(bool write, base::SteadyTime deadline);
  absl::Status Flush(base::SteadyTime deadline);
  // The next result; null between the results of two commands.
  absl::StatusOr<PGresult*> Next(base::SteadyTime deadline);
  absl::Status Send(const Statement& statement, bool* prepares);
  absl::StatusOr<std::vector<Rows>> Gather(std::span<const Statement> statements,
                                           const std::vector<bool>& prepares,
                                           base::SteadyTime deadline);
  absl::Status ErrorOf(const PGresult* result);
  absl::Status Broken(std::string_view what);

  PGconn* pg_;
  bool abandoned_ = false;  // an answer is outstanding that nobody will read
  std::string sqlstate_;
  std::unordered_set<std::string> prepared_;  // texts
};

// 23505 ALREADY_EXISTS, 23503 NOT_FOUND, 40001 40P01 55P03 ABORTED, 57014 DEADLINE_EXCEEDED,
// 08xxx 57Pxx 53xxx 25P03 UNAVAILABLE, 22021 22P05 INVALID_ARGUMENT, RNxxx (our triggers)
// FAILED_PRECONDITION, others INTERNAL.
absl::Status StatusFromSqlState(std::string_view sqlstate, std::string_view message);

}  // namespace conclave::store
