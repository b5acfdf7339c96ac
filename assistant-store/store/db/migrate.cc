#include "store/db/migrate.h"

#include <chrono>
#include <cstdio>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"

namespace conclave::store {
namespace {

// "concl" in hexadecimal: the key of the lock that only migrations take.
constexpr int64_t kLockKey = 0x636f6e636c;

constexpr std::string_view kCreateTable =
    "CREATE TABLE IF NOT EXISTS schema_migrations ("
    "version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
    "applied_at timestamptz NOT NULL DEFAULT now())";
constexpr std::string_view kListApplied = "SELECT version, checksum FROM schema_migrations";
constexpr std::string_view kTryLock = "SELECT pg_try_advisory_lock($1::bigint)";
constexpr std::string_view kRecord =
    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1::int, $2, $3)";

// A step of a migration may rewrite a table.
constexpr std::chrono::seconds kStepTimeout{300};
constexpr std::chrono::seconds kLockTimeout{60};

base::SteadyTime After(std::chrono::milliseconds timeout) {
  return std::chrono::steady_clock::now() + timeout;
}

// FNV-1a: tells an accidental edit, which is all that is asked of it.
std::string Checksum(std::string_view text) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

// Polled rather than waited for: a waiting statement would run into statement_timeout.
absl::Status TakeLock(Connection& connection) {
  const base::SteadyTime deadline = After(kLockTimeout);
  while (std::chrono::steady_clock::now() < deadline) {
    ASSIGN_OR_RETURN(const Rows rows, connection.Execute(kTryLock, {kLockKey}, deadline));
    if (rows.Bool(0, 0)) return absl::OkStatus();
    (void)connection.Execute("SELECT pg_sleep(0.1)", {}, deadline);
  }
  return base::Unavailable("migrations: another process holds the lock");
}

absl::Status Apply(Connection& connection, const Migration& migration) {
  RETURN_IF_ERROR(connection.Execute("BEGIN", {}, After(kStepTimeout)).status());
  // Limits meant for requests do not fit a rewrite.
  RETURN_IF_ERROR(connection.ExecuteScript("SET LOCAL statement_timeout = 0", After(kStepTimeout)));
  RETURN_IF_ERROR(connection.ExecuteScript(std::string(migration.sql), After(kStepTimeout)));
  RETURN_IF_ERROR(connection
                      .Execute(kRecord,
                               {migration.version, migration.name, Checksum(migration.sql)},
                               After(kStepTimeout))
                      .status());
  return connection.Execute("COMMIT", {}, After(kStepTimeout)).status();
}

absl::StatusOr<std::map<int64_t, std::string>> Applied(Connection& connection) {
  RETURN_IF_ERROR(
      connection.ExecuteScript("SET client_min_messages = warning", After(kLockTimeout)));
  RETURN_IF_ERROR(connection.Execute(kCreateTable, {}, After(kLockTimeout)).status());
  ASSIGN_OR_RETURN(const Rows rows, connection.Execute(kListApplied, {}, After(kLockTimeout)));
  std::map<int64_t, std::string> applied;
  for (int i = 0; i < rows.size(); ++i) applied[rows.Int(i, 0)] = rows.String(i, 1);
  return applied;
}

}  // namespace

absl::Status Migrate(Database& database, std::span<const Migration> migrations) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, database.Dedicated());
  RETURN_IF_ERROR(TakeLock(*connection));  // given back when the connection closes
  ASSIGN_OR_RETURN(const auto applied, Applied(*connection));
  if (!applied.empty() && applied.rbegin()->first > static_cast<int64_t>(migrations.size())) {
    return base::FailedPrecondition(absl::StrCat("migrations: the database is at version ",
                                                 applied.rbegin()->first, ", this binary knows ",
                                                 migrations.size()));
  }
  for (const Migration& migration : migrations) {
    const auto found = applied.find(migration.version);
    if (found == applied.end()) {
      RETURN_IF_ERROR(base::Annotate(Apply(*connection, migration),
                                     absl::StrCat("migration ", base::Abs(migration.name))));
      base::LogInfo("migration applied", {{"name", migration.name}});
    } else if (found->second != Checksum(migration.sql)) {
      return base::FailedPrecondition(absl::StrCat("migration ", base::Abs(migration.name),
                                                   " was changed after it ran on this database"));
    }
  }
  return absl::OkStatus();
}

}  // namespace conclave::store
