// The messages of a thread, in the order they were added.
#pragma once

#include <optional>

#include "base/ids.h"
#include "base/status.h"
#include "conclave/v1/threads.pb.h"
#include "store/db/transaction.h"

namespace conclave::store {

// Thread-safe. Errors: INVALID_ARGUMENT with the field, NOT_FOUND, UNAVAILABLE.
class Messages final {
 public:
  explicit Messages(Database& database, base::IdSource new_id = base::NewId)
      : database_(database), new_id_(std::move(new_id)) {}

  // FAILED_PRECONDITION while a run of the thread is active.
  absl::StatusOr<conclave::v1::Message> Create(const conclave::v1::CreateMessageRequest& request);
  absl::StatusOr<conclave::v1::Message> Get(const conclave::v1::GetMessageRequest& request);
  absl::StatusOr<conclave::v1::ListMessagesReply> List(
      const conclave::v1::ListMessagesRequest& request);
  absl::StatusOr<conclave::v1::Message> Modify(const conclave::v1::ModifyMessageRequest& request);
  absl::StatusOr<conclave::v1::DeleteReply> Delete(
      const conclave::v1::DeleteMessageRequest& request);

 private:
  Database& database_;
  const base::IdSource new_id_;
};

// Writes a checked message of a caller; the transaction holds the thread's lock.
absl::StatusOr<conclave::v1::Message> InsertGivenMessage(Transaction& tx, const std::string& tenant,
                                                         const std::string& thread_id,
                                                         const conclave::v1::Message& given,
                                                         const base::IdSource& new_id);

// Writes the `ordinal`th message of a run (message.run_id, from 1) under the id it was announced
// with. ALREADY_EXISTS when it was written before. The transaction holds the thread's lock.
absl::Status InsertRunMessage(Transaction& tx, const std::string& tenant,
                              const conclave::v1::Message& message, int ordinal);

// All messages of a thread, oldest first; at most the `count_max` newest.
absl::StatusOr<std::vector<conclave::v1::Message>> ReadThread(Transaction& tx,
                                                              const std::string& tenant,
                                                              const std::string& thread_id,
                                                              int count_max);

}  // namespace conclave::store
