// A fresh database for one test case, on the throw-away cluster of with_postgres.sh.
#pragma once

#include <memory>
#include <string>

#include "store/db/transaction.h"

namespace conclave::tests {

class TestDatabase final {
 public:
  TestDatabase();   // creates and migrates
  ~TestDatabase();  // drops
  TestDatabase(const TestDatabase&) = delete;
  TestDatabase& operator=(const TestDatabase&) = delete;

  const std::string& conninfo() const { return conninfo_; }
  store::Database& database() { return *database_; }

  // Runs one statement and returns the first value as text; "" for none.
  std::string Value(const std::string& sql);
  // The error of a statement that must fail.
  absl::Status Error(const std::string& sql);

  // with_postgres.sh's ctl: "stop", "kill", "start".
  static void Control(const std::string& verb);
  static std::string ServerConninfo();

 private:
  std::string name_;
  std::string conninfo_;
  std::unique_ptr<store::Database> database_;
};

}  // namespace conclave::tests
