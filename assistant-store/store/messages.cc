#include "store/messages.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "store/objects.h"
#include "store/paging.h"
#include "store/rows.h"
#include "store/threads.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

absl::StatusOr<pb::Message> FromRow(const Rows& rows, int row) {
  pb::Message message;
  RETURN_IF_ERROR(FromJsonRow(rows.Text(row, 3), &message));
  message.set_id(rows.String(row, 0));
  message.set_created_at(rows.Int(row, 1));
  message.set_thread_id(rows.String(row, 2));
  return message;
}

std::string BodyOf(pb::Message message) {
  message.clear_id();
  message.clear_created_at();
  message.clear_thread_id();
  return ToJsonRow(message);
}

}  // namespace

// The thread's row is locked by the statement itself.
constexpr std::string_view kInsertMessage =
    "WITH place AS (UPDATE threads SET next_seq = next_seq + 1 WHERE tenant_id = $1 AND id = $2 "
    "RETURNING next_seq - 1 AS seq) "
    "INSERT INTO messages (tenant_id, thread_id, id, seq, body) "
    "SELECT $1, $2, $3, seq, $4::jsonb FROM place "
    "RETURNING id, extract(epoch FROM created_at)::bigint, thread_id, body";

absl::StatusOr<pb::Message> InsertGivenMessage(Transaction& tx, const std::string& tenant,
                                               const std::string& thread_id,
                                               const pb::Message& given,
                                               const base::IdSource& new_id) {
  pb::Message message = given;
  message.set_status(pb::Message::STATUS_COMPLETED);
  message.clear_incomplete_reason();
  message.clear_completed_at();
  message.clear_incomplete_at();
  message.clear_assistant_id();
  message.clear_run_id();
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kInsertMessage, {tenant, thread_id, new_id("msg_"),
                                                                BodyOf(message)}));
  if (rows.empty()) return NoSuchObject("thread", thread_id);
  return FromRow(rows, 0);
}

constexpr std::string_view kInsertRunMessage =
    "WITH place AS (UPDATE threads SET next_seq = next_seq + 1 WHERE tenant_id = $1 AND id = $2 "
    "RETURNING next_seq - 1 AS seq) "
    "INSERT INTO messages (tenant_id, thread_id, id, seq, created_at, run_id, ordinal, body) "
    "SELECT $1, $2, $3, seq, to_timestamp($4::bigint), $5, $6::int, $7::jsonb FROM place "
    "RETURNING id";

absl::Status InsertRunMessage(Transaction& tx, const std::string& tenant,
                              const pb::Message& message, int ordinal) {
  ASSIGN_OR_RETURN(const Rows rows,
                   tx.Execute(kInsertRunMessage,
                              {tenant, message.thread_id(), message.id(), message.created_at(),
                               message.run_id(), ordinal, BodyOf(message)}));
  return rows.empty() ? NoSuchObject("thread", message.thread_id()) : absl::OkStatus();
}

absl::StatusOr<pb::Message> Messages::Create(const pb::CreateMessageRequest& request) {
  RETURN_IF_ERROR(CheckMessage("", request.message()));
  const std::string tenant = TenantOf(request.meta());
  pb::Message created;
  RETURN_IF_ERROR(database_.Transact("create_message", [&](Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(LockThread(tx, tenant, request.thread_id()));
    ASSIGN_OR_RETURN(const std::string active, ActiveRun(tx, tenant, request.thread_id()));
    if (!active.empty()) {
      return base::FailedPrecondition(absl::StrCat("Can't add messages to ", request.thread_id(),
                                                   " while a run ", active, " is active."));
    }
    ASSIGN_OR_RETURN(
        created, InsertGivenMessage(tx, tenant, request.thread_id(), request.message(), new_id_));
    return absl::OkStatus();
  }));
  return created;
}

constexpr std::string_view kGetMessage =
    "SELECT id, extract(epoch FROM created_at)::bigint, thread_id, body FROM messages "
    "WHERE tenant_id = $1 AND thread_id = $2 AND id = $3";

absl::StatusOr<pb::Message> Messages::Get(const pb::GetMessageRequest& request) {
  ASSIGN_OR_RETURN(const Rows rows,
                   database_.Query("get_message", kGetMessage,
                                   {TenantOf(request.meta()), request.thread_id(), request.id()}));
  if (rows.empty()) return NoSuchObject("message", request.id());
  return FromRow(rows, 0);
}

constexpr std::string_view kSelectMessages =
    "SELECT id, extract(epoch FROM created_at)::bigint, thread_id, body FROM messages";
constexpr ListSource kListMessages = {.op = "list_messages",
                                      .select = kSelectMessages,
                                      .table = "messages",
                                      .where = "tenant_id = $1 AND thread_id = $2",
                                      .key = "seq"};
constexpr ListSource kListMessagesOfRun = {
    .op = "list_messages",
    .select = kSelectMessages,
    .table = "messages",
    .where = "tenant_id = $1 AND thread_id = $2 AND run_id = $3",
    .key = "seq"};
constexpr std::string_view kThreadExists = "SELECT 1 FROM threads WHERE tenant_id = $1 AND id = $2";

absl::StatusOr<pb::ListMessagesReply> Messages::List(const pb::ListMessagesRequest& request) {
  const std::string tenant = TenantOf(request.meta());
  ASSIGN_OR_RETURN(const Rows thread,
                   database_.Query("list_messages", kThreadExists, {tenant, request.thread_id()}));
  if (thread.empty()) return NoSuchObject("thread", request.thread_id());
  Params where = {tenant, request.thread_id()};
  if (!request.run_id().empty()) where.push_back(request.run_id());
  return ListReply<pb::ListMessagesReply>(
      database_, request.run_id().empty() ? kListMessages : kListMessagesOfRun, where,
      request.page(), FromRow);
}

constexpr std::string_view kSetMessageMetadata =
    "UPDATE messages SET body = jsonb_set(body, '{metadata}', $4::jsonb) "
    "WHERE tenant_id = $1 AND thread_id = $2 AND id = $3 "
    "RETURNING id, extract(epoch FROM created_at)::bigint, thread_id, body";

absl::StatusOr<pb::Message> Messages::Modify(const pb::ModifyMessageRequest& request) {
  RETURN_IF_ERROR(CheckMetadata(request.metadata()));
  pb::Message modified;
  RETURN_IF_ERROR(database_.Transact("modify_message", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kSetMessageMetadata,
                                                 {TenantOf(request.meta()), request.thread_id(),
                                                  request.id(), MapToJson(request.metadata())}));
    if (rows.empty()) return NoSuchObject("message", request.id());
    ASSIGN_OR_RETURN(modified, FromRow(rows, 0));
    return absl::OkStatus();
  }));
  return modified;
}

constexpr std::string_view kDeleteMessage =
    "DELETE FROM messages WHERE tenant_id = $1 AND thread_id = $2 AND id = $3";

absl::StatusOr<pb::DeleteReply> Messages::Delete(const pb::DeleteMessageRequest& request) {
  return DeleteObject(database_, {.op = "delete_message", .sql = kDeleteMessage, .kind = "message"},
                      {TenantOf(request.meta()), request.thread_id()}, request.id());
}

constexpr std::string_view kReadThread =
    "SELECT id, extract(epoch FROM created_at)::bigint, thread_id, body FROM messages "
    "WHERE tenant_id = $1 AND thread_id = $2 ORDER BY seq DESC LIMIT $3::bigint";

absl::StatusOr<std::vector<pb::Message>> ReadThread(Transaction& tx, const std::string& tenant,
                                                    const std::string& thread_id, int count_max) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kReadThread, {tenant, thread_id, count_max}));
  std::vector<pb::Message> messages;
  for (int row = 0; row < rows.size(); ++row) {
    ASSIGN_OR_RETURN(messages.emplace_back(), FromRow(rows, row));
  }
  std::reverse(messages.begin(), messages.end());
  return messages;
}

}  // namespace conclave::store
