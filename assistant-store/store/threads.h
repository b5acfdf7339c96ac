// Threads: conversations that messages are added to and runs answer.
#pragma once

#include "base/ids.h"
#include "base/status.h"
#include "conclave/v1/threads.pb.h"
#include "store/db/transaction.h"

namespace conclave::store {

// Thread-safe. Errors: INVALID_ARGUMENT with the field, NOT_FOUND, UNAVAILABLE.
class Threads final {
 public:
  explicit Threads(Database& database, base::IdSource new_id = base::NewId)
      : database_(database), new_id_(std::move(new_id)) {}

  absl::StatusOr<conclave::v1::Thread> Create(const conclave::v1::CreateThreadRequest& request);
  absl::StatusOr<conclave::v1::Thread> Get(const conclave::v1::GetThreadRequest& request);
  absl::StatusOr<conclave::v1::ListThreadsReply> List(
      const conclave::v1::ListThreadsRequest& request);
  absl::StatusOr<conclave::v1::Thread> Modify(const conclave::v1::ModifyThreadRequest& request);
  // With its messages and runs; an active run loses its lease and ends without a word.
  absl::StatusOr<conclave::v1::DeleteReply> Delete(
      const conclave::v1::DeleteThreadRequest& request);

 private:
  Database& database_;
  const base::IdSource new_id_;
};

// The limits of a new thread and its first messages.
absl::Status CheckNewThread(const conclave::v1::CreateThreadRequest& request);
// Writes a checked thread and its messages.
absl::StatusOr<conclave::v1::Thread> InsertThread(Transaction& tx, const std::string& tenant,
                                                  const conclave::v1::CreateThreadRequest& request,
                                                  const base::IdSource& new_id);

// Takes the thread's row lock, which everything that adds messages or runs holds. Where a run's row
// is locked too, the thread's comes first. NOT_FOUND.
absl::Status LockThread(Transaction& tx, const std::string& tenant, const std::string& thread_id);
// The id of the thread's active run; empty when there is none. The caller holds the thread's lock.
absl::StatusOr<std::string> ActiveRun(Transaction& tx, const std::string& tenant,
                                      const std::string& thread_id);

}  // namespace conclave::store
