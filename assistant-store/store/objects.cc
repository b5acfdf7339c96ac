#include "store/objects.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

// "tool_resources" is the caller's name for "tool_resources_json".
const google::protobuf::FieldDescriptor* FindMasked(const google::protobuf::Message& message,
                                                    const std::string& name) {
  const google::protobuf::Descriptor* type = message.GetDescriptor();
  const auto* field = type->FindFieldByName(name);
  return field != nullptr ? field : type->FindFieldByName(name + "_json");
}

}  // namespace

absl::Status NoSuchObject(std::string_view kind, std::string_view id) {
  return base::NotFound(
      absl::StrCat("No ", base::Abs(kind), " found with id '", base::Abs(id), "'."));
}

absl::Status ApplyMask(const google::protobuf::Message& from,
                       const google::protobuf::RepeatedPtrField<std::string>& mask,
                       google::protobuf::Message* to) {
  // Only the masked fields are left in `taken`, and absent ones are cleared in `to` first.
  std::unique_ptr<google::protobuf::Message> taken(from.New());
  taken->CopyFrom(from);
  std::vector<const google::protobuf::FieldDescriptor*> masked;
  for (const std::string& name : mask) {
    const auto* field = FindMasked(*to, name);
    if (field == nullptr || name == "id" || name == "created_at") {
      return InvalidField("update_mask", "invalid_value",
                          absl::StrCat("'", name, "' is not a field that can be modified."));
    }
    masked.push_back(field);
    to->GetReflection()->ClearField(to, field);
  }
  std::vector<const google::protobuf::FieldDescriptor*> present;
  taken->GetReflection()->ListFields(*taken, &present);
  for (const auto* field : present) {
    if (std::find(masked.begin(), masked.end(), field) == masked.end()) {
      taken->GetReflection()->ClearField(taken.get(), field);
    }
  }
  to->MergeFrom(*taken);
  return absl::OkStatus();
}

absl::StatusOr<conclave::v1::DeleteReply> DeleteObject(Database& database, const Deletion& deletion,
                                                       Params where, const std::string& id) {
  where.push_back(id);
  RETURN_IF_ERROR(database.Transact(deletion.op, [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(deletion.sql, where));
    return rows.affected() == 0 ? NoSuchObject(deletion.kind, id) : absl::OkStatus();
  }));
  conclave::v1::DeleteReply reply;
  reply.set_id(id);
  return reply;
}

}  // namespace conclave::store
