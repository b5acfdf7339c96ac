// Assistants: model, instructions and tools under a name.
#pragma once

#include "base/ids.h"
#include "base/status.h"
#include "conclave/v1/assistants.pb.h"
#include "store/db/transaction.h"

namespace conclave::store {

// Thread-safe. Errors: INVALID_ARGUMENT with the field (validate.h), NOT_FOUND, UNAVAILABLE.
class Assistants final {
 public:
  explicit Assistants(Database& database, base::IdSource new_id = base::NewId)
      : database_(database), new_id_(std::move(new_id)) {}

  absl::StatusOr<conclave::v1::Assistant> Create(
      const conclave::v1::CreateAssistantRequest& request);
  absl::StatusOr<conclave::v1::Assistant> Get(const conclave::v1::GetAssistantRequest& request);
  absl::StatusOr<conclave::v1::ListAssistantsReply> List(
      const conclave::v1::ListAssistantsRequest& request);
  // Takes over the fields that update_mask names; the result must be a valid assistant.
  absl::StatusOr<conclave::v1::Assistant> Modify(
      const conclave::v1::ModifyAssistantRequest& request);
  // Runs keep their own copy of what they took from the assistant.
  absl::StatusOr<conclave::v1::DeleteReply> Delete(
      const conclave::v1::DeleteAssistantRequest& request);

 private:
  Database& database_;
  const base::IdSource new_id_;
};

// Reads one assistant inside a transaction; NOT_FOUND.
absl::StatusOr<conclave::v1::Assistant> ReadAssistant(Transaction& tx, const std::string& tenant,
                                                      const std::string& id);

}  // namespace conclave::store
