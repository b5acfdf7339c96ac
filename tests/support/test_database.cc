#include "support/test_database.h"

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

#include "base/log.h"
#include "store/db/connection.h"
#include "store/db/migrate.h"

namespace conclave::tests {
namespace {

base::SteadyTime Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(20); }

void Must(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

void OnServer(const std::string& sql) {
  auto connection = store::Connection::Open(TestDatabase::ServerConninfo(), Soon());
  Must(connection.status());
  Must((*connection)->ExecuteScript(sql, Soon()));
}

}  // namespace

std::string TestDatabase::ServerConninfo() {
  const char* dsn = std::getenv("CONCLAVE_TEST_DSN");
  if (dsn == nullptr) throw std::runtime_error("run me under tests/support/with_postgres.sh");
  return dsn;
}

void TestDatabase::Control(const std::string& verb) {
  const char* ctl = std::getenv("CONCLAVE_TEST_PG_CTL");
  if (ctl == nullptr) throw std::runtime_error("CONCLAVE_TEST_PG_CTL is not set");
  if (std::system((std::string(ctl) + " " + verb).c_str()) != 0) {
    throw std::runtime_error("PostgreSQL did not " + verb);
  }
}

TestDatabase::TestDatabase() {
  base::SetLogLevel(base::LogLevel::kError);
  static int count = 0;
  name_ = "test_" + std::to_string(getpid()) + "_" + std::to_string(++count);
  OnServer("CREATE DATABASE " + name_);
  conninfo_ = ServerConninfo();
  conninfo_.replace(conninfo_.find("dbname="), std::string::npos, "dbname=" + name_);
  database_ = std::make_unique<store::Database>(
      store::Database::Options{.pool = {.conninfo = conninfo_, .size = 8}});
  Must(store::Migrate(*database_));
}

TestDatabase::~TestDatabase() {
  database_.reset();
  try {
    OnServer("DROP DATABASE IF EXISTS " + name_ + " WITH (FORCE)");
  } catch (const std::exception&) {
    // The cluster is thrown away with everything in it.
  }
}

std::string TestDatabase::Value(const std::string& sql) {
  absl::StatusOr<store::Rows> rows = database_->Query("test", sql);
  Must(rows.status());
  return rows->empty() ? "" : rows->String(0, 0);
}

absl::Status TestDatabase::Error(const std::string& sql) {
  return database_->Transact(
      "test", [&](store::Transaction& tx) -> absl::Status { return tx.Execute(sql).status(); });
}

}  // namespace conclave::tests
