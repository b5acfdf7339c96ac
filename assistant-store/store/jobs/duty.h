// A duty: work that one replica at a time does for all (table duties).
#pragma once

#include <chrono>
#include <string>

#include "base/status.h"
#include "store/db/transaction.h"

namespace conclave::store {

// Owned by one thread.
class Duty final {
 public:
  // `owner` names this replica in the row.
  Duty(Database& database, std::string duty, std::string owner, std::chrono::milliseconds lease)
      : database_(database), duty_(std::move(duty)), owner_(std::move(owner)), lease_(lease) {}

  // Takes the duty or keeps it. True while it is ours; false while another replica has it.
  absl::StatusOr<bool> Hold();
  // Lets another replica take it at once.
  absl::Status Release();

 private:
  Database& database_;
  const std::string duty_;
  const std::string owner_;
  const std::chrono::milliseconds lease_;
};

}  // namespace conclave::store
