// Brings the database to the schema of this binary: numbered SQL files, embedded at build time,
// each in a transaction of its own, forward only. Replicas that start together take turns by an
// advisory lock. A file that was changed after it ran is refused: its checksum is kept.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "store/db/transaction.h"

namespace conclave::store {

struct Migration {
  int version;            // from 1, without gaps
  std::string_view name;  // "0001_assistants"
  std::string_view sql;
};

// The files of migrations/, by version.
std::span<const Migration> Migrations();

// FAILED_PRECONDITION when the database is newer than this binary or a file was changed.
absl::Status Migrate(Database& database, std::span<const Migration> migrations = Migrations());

}  // namespace conclave::store
