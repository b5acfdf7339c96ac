#include "store/threads.h"

#include "absl/strings/str_cat.h"
#include "store/messages.h"
#include "store/objects.h"
#include "store/paging.h"
#include "store/rows.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

// A whole conversation may be brought along, but not a novel: one transaction writes it.
constexpr int kFirstMessagesMax = 1000;

constexpr auto FromRow = ObjectFromRow<pb::Thread>;

}  // namespace

absl::Status CheckNewThread(const pb::CreateThreadRequest& request) {
  RETURN_IF_ERROR(CheckMetadata(request.thread().metadata()));
  RETURN_IF_ERROR(CheckToolResources(request.thread().tool_resources_json()));
  if (request.messages_size() > kFirstMessagesMax) {
    return InvalidField("messages", "array_above_max_length",
                        absl::StrCat("expected at most ", kFirstMessagesMax, " messages."));
  }
  for (int i = 0; i < request.messages_size(); ++i) {
    RETURN_IF_ERROR(CheckMessage(absl::StrCat("messages[", i, "]."), request.messages(i)));
  }
  return absl::OkStatus();
}

constexpr std::string_view kInsertThread =
    "INSERT INTO threads (tenant_id, id, body) VALUES ($1, $2, $3::jsonb) "
    "RETURNING id, extract(epoch FROM created_at)::bigint, body";

absl::StatusOr<pb::Thread> InsertThread(Transaction& tx, const std::string& tenant,
                                        const pb::CreateThreadRequest& request,
                                        const base::IdSource& new_id) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kInsertThread, {tenant, new_id("thread_"),
                                                               BodyOfObject(request.thread())}));
  ASSIGN_OR_RETURN(pb::Thread thread, FromRow(rows, 0));
  for (const pb::Message& message : request.messages()) {
    RETURN_IF_ERROR(InsertGivenMessage(tx, tenant, thread.id(), message, new_id).status());
  }
  return thread;
}

absl::StatusOr<pb::Thread> Threads::Create(const pb::CreateThreadRequest& request) {
  RETURN_IF_ERROR(CheckNewThread(request));
  pb::Thread created;
  RETURN_IF_ERROR(database_.Transact("create_thread", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(created, InsertThread(tx, TenantOf(request.meta()), request, new_id_));
    return absl::OkStatus();
  }));
  return created;
}

constexpr std::string_view kGetThread =
    "SELECT id, extract(epoch FROM created_at)::bigint, body FROM threads "
    "WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::Thread> Threads::Get(const pb::GetThreadRequest& request) {
  ASSIGN_OR_RETURN(const Rows rows, database_.Query("get_thread", kGetThread,
                                                    {TenantOf(request.meta()), request.id()}));
  if (rows.empty()) return NoSuchObject("thread", request.id());
  return FromRow(rows, 0);
}

constexpr ListSource kListThreads = {
    .op = "list_threads",
    .select = "SELECT id, extract(epoch FROM created_at)::bigint, body FROM threads",
    .table = "threads",
    .where = "tenant_id = $1",
    .key = "created_at, id"};

absl::StatusOr<pb::ListThreadsReply> Threads::List(const pb::ListThreadsRequest& request) {
  return ListReply<pb::ListThreadsReply>(database_, kListThreads, {TenantOf(request.meta())},
                                         request.page(), FromRow);
}

constexpr std::string_view kLockThread =
    "SELECT id, extract(epoch FROM created_at)::bigint, body FROM threads "
    "WHERE tenant_id = $1 AND id = $2 FOR UPDATE";
constexpr std::string_view kUpdateThread =
    "UPDATE threads SET body = $3::jsonb WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::Thread> Threads::Modify(const pb::ModifyThreadRequest& request) {
  const std::string tenant = TenantOf(request.meta());
  pb::Thread modified;
  RETURN_IF_ERROR(database_.Transact("modify_thread", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kLockThread, {tenant, request.id()}));
    if (rows.empty()) return NoSuchObject("thread", request.id());
    ASSIGN_OR_RETURN(modified, FromRow(rows, 0));
    RETURN_IF_ERROR(ApplyMask(request.thread(), request.update_mask(), &modified));
    RETURN_IF_ERROR(CheckMetadata(modified.metadata()));
    RETURN_IF_ERROR(CheckToolResources(modified.tool_resources_json()));
    return tx.Execute(kUpdateThread, {tenant, request.id(), BodyOfObject(modified)}).status();
  }));
  return modified;
}

constexpr std::string_view kDeleteThread = "DELETE FROM threads WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::DeleteReply> Threads::Delete(const pb::DeleteThreadRequest& request) {
  return DeleteObject(database_, {.op = "delete_thread", .sql = kDeleteThread, .kind = "thread"},
                      {TenantOf(request.meta())}, request.id());
}

absl::Status LockThread(Transaction& tx, const std::string& tenant, const std::string& thread_id) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kLockThread, {tenant, thread_id}));
  return rows.empty() ? NoSuchObject("thread", thread_id) : absl::OkStatus();
}

constexpr std::string_view kActiveRun =
    "SELECT id FROM runs WHERE tenant_id = $1 AND thread_id = $2 "
    "AND status IN ('queued', 'in_progress', 'cancelling', 'requires_action')";

absl::StatusOr<std::string> ActiveRun(Transaction& tx, const std::string& tenant,
                                      const std::string& thread_id) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kActiveRun, {tenant, thread_id}));
  return rows.empty() ? std::string() : rows.String(0, 0);
}

}  // namespace conclave::store
