#include "store/assistants.h"

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "store/paging.h"
#include "store/rows.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

absl::StatusOr<pb::Assistant> FromRow(const Rows& rows, int row) {
  pb::Assistant assistant;
  RETURN_IF_ERROR(FromJsonRow(rows.Text(row, 2), &assistant));
  assistant.set_id(rows.String(row, 0));
  assistant.set_created_at(rows.Int(row, 1));
  return assistant;
}

std::string BodyOf(pb::Assistant assistant) {
  assistant.clear_id();
  assistant.clear_created_at();
  return ToJsonRow(assistant);
}

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

constexpr std::string_view kInsertAssistant =
    "INSERT INTO assistants (tenant_id, id, body) VALUES ($1, $2, $3::jsonb) "
    "RETURNING id, extract(epoch FROM created_at)::bigint, body";

absl::StatusOr<pb::Assistant> Assistants::Create(const pb::CreateAssistantRequest& request) {
  RETURN_IF_ERROR(CheckAssistant(request.assistant()));
  const std::string id = new_id_("asst_");
  pb::Assistant created;
  RETURN_IF_ERROR(database_.Transact("create_assistant", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kInsertAssistant, {TenantOf(request.meta()), id,
                                                                    BodyOf(request.assistant())}));
    ASSIGN_OR_RETURN(created, FromRow(rows, 0));
    return absl::OkStatus();
  }));
  return created;
}

constexpr std::string_view kGetAssistant =
    "SELECT id, extract(epoch FROM created_at)::bigint, body FROM assistants "
    "WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::Assistant> Assistants::Get(const pb::GetAssistantRequest& request) {
  ASSIGN_OR_RETURN(const Rows rows, database_.Query("get_assistant", kGetAssistant,
                                                    {TenantOf(request.meta()), request.id()}));
  if (rows.empty()) return NoSuchObject("assistant", request.id());
  return FromRow(rows, 0);
}

absl::StatusOr<pb::Assistant> ReadAssistant(Transaction& tx, const std::string& tenant,
                                            const std::string& id) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kGetAssistant, {tenant, id}));
  if (rows.empty()) return NoSuchObject("assistant", id);
  return FromRow(rows, 0);
}

constexpr ListSource kListAssistants = {
    .op = "list_assistants",
    .select = "SELECT id, extract(epoch FROM created_at)::bigint, body FROM assistants",
    .table = "assistants",
    .where = "tenant_id = $1",
    .key = "created_at, id"};

absl::StatusOr<pb::ListAssistantsReply> Assistants::List(const pb::ListAssistantsRequest& request) {
  ASSIGN_OR_RETURN(const ListPage page, FetchPage(database_, kListAssistants,
                                                  {TenantOf(request.meta())}, request.page()));
  pb::ListAssistantsReply reply;
  for (const int row : page.order) {
    ASSIGN_OR_RETURN(*reply.add_data(), FromRow(page.rows, row));
  }
  if (!reply.data().empty()) {
    reply.mutable_page()->set_first_id(reply.data(0).id());
    reply.mutable_page()->set_last_id(reply.data(reply.data_size() - 1).id());
  }
  reply.mutable_page()->set_has_more(page.has_more);
  return reply;
}

constexpr std::string_view kLockAssistant =
    "SELECT id, extract(epoch FROM created_at)::bigint, body FROM assistants "
    "WHERE tenant_id = $1 AND id = $2 FOR UPDATE";
constexpr std::string_view kUpdateAssistant =
    "UPDATE assistants SET body = $3::jsonb WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::Assistant> Assistants::Modify(const pb::ModifyAssistantRequest& request) {
  const std::string tenant = TenantOf(request.meta());
  pb::Assistant modified;
  RETURN_IF_ERROR(database_.Transact("modify_assistant", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kLockAssistant, {tenant, request.id()}));
    if (rows.empty()) return NoSuchObject("assistant", request.id());
    ASSIGN_OR_RETURN(modified, FromRow(rows, 0));
    RETURN_IF_ERROR(ApplyMask(request.assistant(), request.update_mask(), &modified));
    RETURN_IF_ERROR(CheckAssistant(modified));
    return tx.Execute(kUpdateAssistant, {tenant, request.id(), BodyOf(modified)}).status();
  }));
  return modified;
}

constexpr std::string_view kDeleteAssistant =
    "DELETE FROM assistants WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::DeleteReply> Assistants::Delete(const pb::DeleteAssistantRequest& request) {
  RETURN_IF_ERROR(database_.Transact("delete_assistant", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows,
                     tx.Execute(kDeleteAssistant, {TenantOf(request.meta()), request.id()}));
    if (rows.affected() == 0) return NoSuchObject("assistant", request.id());
    return absl::OkStatus();
  }));
  pb::DeleteReply reply;
  reply.set_id(request.id());
  return reply;
}

}  // namespace conclave::store
