#include <catch2/catch.hpp>

#include "store/db/connection.h"
#include "store/db/migrate.h"
#include "store/db/transaction.h"
#include "store/run_change.h"

using conclave::store::IntArray;
using conclave::store::Param;
using conclave::store::StatusFromSqlState;

TEST_CASE("parameters say null, text, number and bytes") {
  CHECK_FALSE(Param(std::nullopt).value().has_value());
  CHECK_FALSE(Param(std::optional<int64_t>()).value().has_value());
  CHECK(Param(std::optional<int64_t>(7)).value() == "7");
  CHECK(Param(true).value() == "t");
  CHECK(Param(-3).value() == "-3");
  CHECK(Param(conclave::store::Bytes{std::string_view("a\0b", 3)}).value()->size() == 3);
  CHECK(Param(conclave::store::Bytes{"x"}).binary());
  CHECK(IntArray({1, -2, 3}) == "{1,-2,3}");
  CHECK(IntArray({}) == "{}");
}

TEST_CASE("SQLSTATEs become the codes that callers branch on") {
  const auto code = [](std::string_view state) { return StatusFromSqlState(state, "x").code(); };
  CHECK(code("23505") == absl::StatusCode::kAlreadyExists);
  CHECK(code("23503") == absl::StatusCode::kNotFound);
  CHECK(code("40P01") == absl::StatusCode::kAborted);
  CHECK(code("55P03") == absl::StatusCode::kAborted);
  CHECK(code("57014") == absl::StatusCode::kDeadlineExceeded);
  CHECK(code("57P01") == absl::StatusCode::kUnavailable);
  CHECK(code("53100") == absl::StatusCode::kUnavailable);
  CHECK(code("53300") == absl::StatusCode::kUnavailable);
  CHECK(code("08006") == absl::StatusCode::kUnavailable);
  CHECK(code("25P03") == absl::StatusCode::kUnavailable);
  CHECK(code("RN002") == absl::StatusCode::kFailedPrecondition);
  CHECK(code("42601") == absl::StatusCode::kInternal);
}

TEST_CASE("migrations are numbered from 1 without gaps") {
  int expected = 1;
  for (const auto& migration : conclave::store::Migrations()) {
    CHECK(migration.version == expected++);
    CHECK_FALSE(migration.sql.empty());
  }
  CHECK(expected > 3);
}

TEST_CASE("a database that is not there is refused quickly") {
  conclave::store::Database database(
      {.pool = {.conninfo = "host=/nonexistent dbname=x user=y", .size = 1}});
  const auto start = std::chrono::steady_clock::now();
  CHECK(database.Ping().code() == absl::StatusCode::kUnavailable);
  CHECK(database.Transact("x", [](conclave::store::Transaction&) { return absl::OkStatus(); })
            .code() == absl::StatusCode::kUnavailable);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("statuses of runs have one name each") {
  namespace pb = conclave::v1;
  for (int i = 1; i <= 9; ++i) {
    const auto status = static_cast<pb::RunStatus>(i);
    CHECK(conclave::store::RunStatusFromName(conclave::store::RunStatusName(status)) == status);
  }
  CHECK(conclave::store::RunStatusFromName("nonsense") == pb::RUN_STATUS_UNSPECIFIED);
  CHECK(conclave::store::IsAtRest(pb::RUN_STATUS_REQUIRES_ACTION));
  CHECK_FALSE(conclave::store::IsTerminal(pb::RUN_STATUS_REQUIRES_ACTION));
  CHECK_FALSE(conclave::store::IsAtRest(pb::RUN_STATUS_CANCELLING));
}
