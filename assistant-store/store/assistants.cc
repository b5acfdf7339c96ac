#include "store/assistants.h"

#include "store/objects.h"
#include "store/paging.h"
#include "store/rows.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr auto FromRow = ObjectFromRow<pb::Assistant>;

}  // namespace

constexpr std::string_view kInsertAssistant =
    "INSERT INTO assistants (tenant_id, id, body) VALUES ($1, $2, $3::jsonb) "
    "RETURNING id, extract(epoch FROM created_at)::bigint, body";

absl::StatusOr<pb::Assistant> Assistants::Create(const pb::CreateAssistantRequest& request) {
  RETURN_IF_ERROR(CheckAssistant(request.assistant()));
  const std::string id = new_id_("asst_");
  pb::Assistant created;
  RETURN_IF_ERROR(database_.Transact("create_assistant", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows,
                     tx.Execute(kInsertAssistant,
                                {TenantOf(request.meta()), id, BodyOfObject(request.assistant())}));
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
  return ListReply<pb::ListAssistantsReply>(database_, kListAssistants, {TenantOf(request.meta())},
                                            request.page(), FromRow);
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
    return tx.Execute(kUpdateAssistant, {tenant, request.id(), BodyOfObject(modified)}).status();
  }));
  return modified;
}

constexpr std::string_view kDeleteAssistant =
    "DELETE FROM assistants WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::DeleteReply> Assistants::Delete(const pb::DeleteAssistantRequest& request) {
  return DeleteObject(database_,
                      {.op = "delete_assistant", .sql = kDeleteAssistant, .kind = "assistant"},
                      {TenantOf(request.meta())}, request.id());
}

}  // namespace conclave::store
