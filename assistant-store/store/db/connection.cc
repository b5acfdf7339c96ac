#include "store/db/connection.h"

#include <poll.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"

namespace conclave::store {
namespace {

constexpr const char* kSessionOptions =
    "-c statement_timeout=5000 -c lock_timeout=1000 -c idle_in_transaction_session_timeout=10000 "
    "-c synchronous_commit=on -c jit=off -c TimeZone=UTC -c bytea_output=hex -c "
    "standard_conforming_strings=on";

// Statement texts are constants of ours; list statements vary by order and cursor. Far below this.
constexpr size_t kPreparedMax = 512;

int MillisUntil(base::SteadyTime deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count() + 1, 0, 60'000));
}

// A prepared statement is named by its text (FNV-1a, 64 bits: our few hundred texts do not
// collide).
std::string NameOf(std::string_view sql) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : sql) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return absl::StrCat("s", absl::Hex(hash));
}

// The first line: libpq appends details that repeat it.
std::string FirstLine(const char* text) {
  const std::string_view view = text == nullptr ? "" : text;
  return std::string(view.substr(0, view.find('\n')));
}

}  // namespace

absl::Status StatusFromSqlState(std::string_view sqlstate, std::string_view message) {
  const std::string text = absl::StrCat("database: ", base::Abs(message));
  const std::string_view group = sqlstate.substr(0, 2);
  if (sqlstate == "23505") return absl::AlreadyExistsError(text);
  if (sqlstate == "23503") return absl::NotFoundError(text);
  if (sqlstate == "40001" || sqlstate == "40P01" || sqlstate == "55P03") {
    return absl::AbortedError(text);
  }
  if (sqlstate == "57014") return absl::DeadlineExceededError(text);
  if (sqlstate == "25P03" || group == "08" || group == "53" || sqlstate.substr(0, 3) == "57P") {
    return absl::UnavailableError(text);
  }
  if (sqlstate == "22021" || sqlstate == "22P05") return absl::InvalidArgumentError(text);
  if (group == "RN") return absl::FailedPreconditionError(base::Abs(message));
  return absl::InternalError(absl::StrCat(text, " (", base::Abs(sqlstate), ")"));
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& conninfo,
                                                             base::SteadyTime deadline) {
  const char* const keys[] = {"dbname", "options", "application_name", "client_encoding", nullptr};
  const char* const values[] = {conninfo.c_str(), kSessionOptions, "conclave-store", "UTF8",
                                nullptr};
  PGconn* pg = PQconnectStartParams(keys, values, /*expand_dbname=*/1);
  if (pg == nullptr) return absl::ResourceExhaustedError("database: out of memory");
  std::unique_ptr<Connection> connection(new Connection(pg));
  // Notices would go to stderr as they are; what matters comes back as an error.
  PQsetNoticeProcessor(
      pg, [](void*, const char*) {}, nullptr);
  PostgresPollingStatusType state = PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK) {
    if (state == PGRES_POLLING_FAILED || PQstatus(pg) == CONNECTION_BAD) {
      return connection->Broken("cannot connect");
    }
    RETURN_IF_ERROR(connection->WaitSocket(state == PGRES_POLLING_WRITING, deadline));
    state = PQconnectPoll(pg);
  }
  if (PQsetnonblocking(pg, 1) != 0) return connection->Broken("cannot connect");
  return connection;
}

Connection::~Connection() { PQfinish(pg_); }

bool Connection::broken() const { return abandoned_ || PQstatus(pg_) != CONNECTION_OK; }

bool Connection::transaction_failed() const { return PQtransactionStatus(pg_) == PQTRANS_INERROR; }

bool Connection::in_transaction() const { return PQtransactionStatus(pg_) != PQTRANS_IDLE; }

absl::Status Connection::Broken(std::string_view what) {
  sqlstate_.clear();
  abandoned_ = true;
  return absl::UnavailableError(
      absl::StrCat("database: ", base::Abs(what), ": ", FirstLine(PQerrorMessage(pg_))));
}

absl::Status Connection::WaitSocket(bool write, base::SteadyTime deadline) {
  pollfd entry{.fd = PQsocket(pg_),
               .events = static_cast<short>(write ? POLLIN | POLLOUT : POLLIN),
               .revents = 0};
  if (entry.fd < 0) return Broken("no connection");
  while (true) {
    const int ready = poll(&entry, 1, MillisUntil(deadline));
    if (ready > 0) return absl::OkStatus();
    if (ready == 0 && std::chrono::steady_clock::now() >= deadline) {
      return Broken("no answer in time");
    }
    if (ready < 0 && errno != EINTR) return Broken("poll failed");
  }
}

absl::Status Connection::Flush(base::SteadyTime deadline) {
  while (true) {
    const int flushed = PQflush(pg_);
    if (flushed < 0) return Broken("connection lost");
    if (flushed == 0) return absl::OkStatus();
    RETURN_IF_ERROR(WaitSocket(/*write=*/true, deadline));
    if (PQconsumeInput(pg_) == 0) return Broken("connection lost");
  }
}

absl::StatusOr<PGresult*> Connection::Next(base::SteadyTime deadline) {
  while (PQisBusy(pg_) != 0) {
    RETURN_IF_ERROR(WaitSocket(/*write=*/false, deadline));
    if (PQconsumeInput(pg_) == 0) return Broken("connection lost");
  }
  return PQgetResult(pg_);
}

absl::Status Connection::ErrorOf(const PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  if (state == nullptr) return Broken("connection lost");  // made by libpq, not by the server
  sqlstate_ = state;
  return StatusFromSqlState(sqlstate_, message == nullptr ? "error" : message);
}

absl::StatusOr<Rows> Connection::Execute(std::string_view sql, const Params& params,
                                         base::SteadyTime deadline) {
  const Statement statement{sql, params};
  ASSIGN_OR_RETURN(std::vector<Rows> rows, ExecuteAll({&statement, 1}, deadline));
  return std::move(rows.front());
}

absl::StatusOr<std::vector<Rows>> Connection::ExecuteAll(std::span<const Statement> statements,
                                                         base::SteadyTime deadline) {
  sqlstate_.clear();
  if (broken()) return Broken("connection lost");
  if (prepared_.size() + statements.size() > kPreparedMax) {
    return base::Internal("database: too many statements");
  }
  if (PQenterPipelineMode(pg_) == 0) return Broken("connection lost");
  std::vector<bool> prepares;
  for (const Statement& statement : statements) {
    bool first_use = false;
    RETURN_IF_ERROR(Send(statement, &first_use));
    prepares.push_back(first_use);
  }
  if (PQpipelineSync(pg_) == 0) return Broken("connection lost");
  RETURN_IF_ERROR(Flush(deadline));
  absl::StatusOr<std::vector<Rows>> rows = Gather(statements, prepares, deadline);
  if (!broken() && PQexitPipelineMode(pg_) == 0) return Broken("answers are left over");
  return rows;
}

absl::Status Connection::Send(const Statement& statement, bool* prepares) {
  const std::string name = NameOf(statement.sql);
  *prepares = !prepared_.contains(std::string(statement.sql));
  if (*prepares &&
      PQsendPrepare(pg_, name.c_str(), std::string(statement.sql).c_str(), 0, nullptr) == 0) {
    return Broken("connection lost");
  }
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  for (const Param& param : statement.params) {
    values.push_back(param.value() ? param.value()->c_str() : nullptr);
    lengths.push_back(param.value() ? static_cast<int>(param.value()->size()) : 0);
    formats.push_back(param.binary() ? 1 : 0);
  }
  if (PQsendQueryPrepared(pg_, name.c_str(), static_cast<int>(values.size()), values.data(),
                          lengths.data(), formats.data(), /*resultFormat=*/0) == 0) {
    return Broken("connection lost");
  }
  return absl::OkStatus();
}

// Results come in the order of the commands, each command's followed by a null; a last one says
// that all were worked off.
absl::StatusOr<std::vector<Rows>> Connection::Gather(std::span<const Statement> statements,
                                                     const std::vector<bool>& prepares,
                                                     base::SteadyTime deadline) {
  std::vector<Rows> rows;
  absl::Status error;
  size_t statement = 0;
  bool preparing = !prepares.empty() && prepares[0];
  while (true) {
    ASSIGN_OR_RETURN(PGresult * raw, Next(deadline));
    if (raw == nullptr) {
      if (PQstatus(pg_) != CONNECTION_OK) return Broken("connection lost");
      continue;
    }
    Rows result(raw);
    const ExecStatusType kind = PQresultStatus(raw);
    if (kind == PGRES_PIPELINE_SYNC) break;
    if (kind == PGRES_FATAL_ERROR && error.ok()) error = ErrorOf(raw);
    if (broken()) return error;
    if (statement >= statements.size()) return Broken("an answer to nothing");
    const bool ok = kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK;
    if (preparing) {
      if (ok) prepared_.insert(std::string(statements[statement].sql));
      preparing = false;
      continue;
    }
    if (ok) rows.push_back(std::move(result));
    ++statement;
    preparing = statement < prepares.size() && prepares[statement];
  }
  if (!error.ok()) return error;
  if (rows.size() != statements.size()) return Broken("answers are missing");
  return rows;
}

absl::Status Connection::ExecuteScript(const std::string& sql, base::SteadyTime deadline) {
  sqlstate_.clear();
  if (PQsendQuery(pg_, sql.c_str()) == 0) return Broken("connection lost");
  RETURN_IF_ERROR(Flush(deadline));
  absl::Status status;
  while (true) {
    ASSIGN_OR_RETURN(PGresult * raw, Next(deadline));
    if (raw == nullptr) return status;
    const Rows result(raw);
    // The first error of a script is the one to tell.
    if (PQresultStatus(raw) == PGRES_FATAL_ERROR && status.ok()) status = ErrorOf(raw);
  }
}

}  // namespace conclave::store
