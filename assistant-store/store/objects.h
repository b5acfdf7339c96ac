// What is the same for every kind of object: its row, taking over given fields, deleting it.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "conclave/v1/common.pb.h"
#include "google/protobuf/message.h"
#include "store/db/transaction.h"
#include "store/rows.h"

namespace conclave::store {

// "No assistant found with id 'asst_…'."
absl::Status NoSuchObject(std::string_view kind, std::string_view id);

// Copies the fields of `from` that the mask names over to `to`: absent ones become absent.
// INVALID_ARGUMENT for a name that is no field of the message, or is id or created_at.
absl::Status ApplyMask(const google::protobuf::Message& from,
                       const google::protobuf::RepeatedPtrField<std::string>& mask,
                       google::protobuf::Message* to);

// A row of (id, created_at as Unix seconds, body), as Assistant or Thread.
template <typename Object>
absl::StatusOr<Object> ObjectFromRow(const Rows& rows, int row) {
  Object object;
  RETURN_IF_ERROR(FromJsonRow(rows.Text(row, 2), &object));
  object.set_id(rows.String(row, 0));
  object.set_created_at(rows.Int(row, 1));
  return object;
}
// What such a row keeps in its body: all but what has a column of its own.
template <typename Object>
std::string BodyOfObject(Object object) {
  object.clear_id();
  object.clear_created_at();
  return ToJsonRow(object);
}

struct Deletion {
  std::string_view op;    // for metrics: "delete_thread"
  std::string_view sql;   // a DELETE whose last parameter is the id
  std::string_view kind;  // "thread", for NOT_FOUND
};
absl::StatusOr<conclave::v1::DeleteReply> DeleteObject(Database& database, const Deletion& deletion,
                                                       Params where, const std::string& id);

}  // namespace conclave::store
