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
    "-c synchronous_commit=on -c TimeZone=UTC -c bytea_output=hex -c "
    "standard_conforming_strings=on";

// Statement texts are constants of ours; list statements vary by order and cursor. Far below this.
constexpr size_t kPreparedMax = 512;

int MillisUntil(base::SteadyTime deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count() + 1, 0, 60'000));
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

absl::StatusOr<PGresult*> Connection::Gather(base::SteadyTime deadline) {
  while (true) {
    const int flushed = PQflush(pg_);
    if (flushed < 0) return Broken("connection lost");
    if (flushed == 0) break;
    RETURN_IF_ERROR(WaitSocket(/*write=*/true, deadline));
    if (PQconsumeInput(pg_) == 0) return Broken("connection lost");
  }
  PGresult* last = nullptr;
  while (true) {
    while (PQisBusy(pg_) != 0) {
      absl::Status waited = WaitSocket(/*write=*/false, deadline);
      if (waited.ok() && PQconsumeInput(pg_) == 0) waited = Broken("connection lost");
      if (!waited.ok()) {
        PQclear(last);
        return waited;
      }
    }
    PGresult* next = PQgetResult(pg_);
    if (next == nullptr) break;
    // The first error of a script is the one to tell.
    if (last != nullptr && PQresultStatus(last) == PGRES_FATAL_ERROR) {
      PQclear(next);
      continue;
    }
    PQclear(last);
    last = next;
  }
  if (last == nullptr) return Broken("no result");
  return last;
}

absl::Status Connection::ErrorOf(const PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char* constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
  constraint_ = constraint == nullptr ? "" : constraint;
  if (state == nullptr) return Broken("connection lost");  // made by libpq, not by the server
  sqlstate_ = state;
  return StatusFromSqlState(sqlstate_, message == nullptr ? "error" : message);
}

absl::Status Connection::Prepare(const std::string& name, std::string_view sql,
                                 base::SteadyTime deadline) {
  if (PQsendPrepare(pg_, name.c_str(), std::string(sql).c_str(), 0, nullptr) == 0) {
    return Broken("connection lost");
  }
  ASSIGN_OR_RETURN(PGresult * result, Gather(deadline));
  absl::Status status;
  if (PQresultStatus(result) != PGRES_COMMAND_OK) status = ErrorOf(result);
  PQclear(result);
  return status;
}

absl::StatusOr<Rows> Connection::Execute(std::string_view sql, const Params& params,
                                         base::SteadyTime deadline) {
  sqlstate_.clear();
  constraint_.clear();
  if (broken()) return Broken("connection lost");
  auto found = prepared_.find(std::string(sql));
  if (found == prepared_.end()) {
    if (prepared_.size() >= kPreparedMax) return base::Internal("database: too many statements");
    const std::string name = absl::StrCat("s", prepared_.size());
    RETURN_IF_ERROR(Prepare(name, sql, deadline));
    found = prepared_.emplace(std::string(sql), name).first;
  }
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  for (const Param& param : params) {
    values.push_back(param.value() ? param.value()->c_str() : nullptr);
    lengths.push_back(param.value() ? static_cast<int>(param.value()->size()) : 0);
    formats.push_back(param.binary() ? 1 : 0);
  }
  if (PQsendQueryPrepared(pg_, found->second.c_str(), static_cast<int>(params.size()),
                          values.data(), lengths.data(), formats.data(), /*resultFormat=*/0) == 0) {
    return Broken("connection lost");
  }
  ASSIGN_OR_RETURN(PGresult * result, Gather(deadline));
  const ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    const absl::Status error = ErrorOf(result);
    PQclear(result);
    return error;
  }
  return Rows(result);
}

absl::Status Connection::ExecuteScript(const std::string& sql, base::SteadyTime deadline) {
  sqlstate_.clear();
  constraint_.clear();
  if (PQsendQuery(pg_, sql.c_str()) == 0) return Broken("connection lost");
  ASSIGN_OR_RETURN(PGresult * result, Gather(deadline));
  absl::Status status;
  if (const ExecStatusType kind = PQresultStatus(result);
      kind != PGRES_COMMAND_OK && kind != PGRES_TUPLES_OK && kind != PGRES_EMPTY_QUERY) {
    status = ErrorOf(result);
  }
  PQclear(result);
  return status;
}

}  // namespace conclave::store
