#include "store/jobs/lease.h"

#include "store/run_outcome.h"

namespace conclave::store {

namespace pb = conclave::v1;

constexpr std::string_view kClaim =
    "UPDATE runs r SET fence = r.fence + 1, lease_owner = $1, "
    "lease_until = clock_timestamp() + make_interval(secs => $2::bigint / 1000.0) "
    "FROM (SELECT tenant_id, id FROM runs WHERE status IN ('queued', 'in_progress', 'cancelling') "
    "AND (lease_until IS NULL OR lease_until < clock_timestamp()) "
    "ORDER BY created_at LIMIT $3::bigint FOR UPDATE SKIP LOCKED) free "
    "WHERE r.tenant_id = free.tenant_id AND r.id = free.id "
    "RETURNING r.tenant_id, r.thread_id, r.id, r.fence";

absl::StatusOr<std::vector<LeaseKey>> Leases::Claim(int count_max) {
  std::vector<LeaseKey> claimed;
  RETURN_IF_ERROR(database_.Transact("claim_runs", [&](Transaction& tx) -> absl::Status {
    claimed.clear();
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kClaim, {owner_, duration_.count(), count_max}));
    for (int i = 0; i < rows.size(); ++i) {
      claimed.push_back({.tenant = rows.String(i, 0),
                         .thread_id = rows.String(i, 1),
                         .run_id = rows.String(i, 2),
                         .fence = rows.Int(i, 3)});
    }
    return absl::OkStatus();
  }));
  return claimed;
}

// Losing the extension to a crash costs nothing: it is only worth something while we live.
constexpr std::string_view kRelaxCommit = "SET LOCAL synchronous_commit = off";
constexpr std::string_view kLeaseStatus =
    "SELECT status FROM runs WHERE tenant_id = $1 AND id = $2 AND fence = $3::bigint "
    "AND status IN ('queued', 'in_progress', 'cancelling')";
constexpr std::string_view kExtend =
    "UPDATE runs r SET lease_until = clock_timestamp() + make_interval(secs => $4::bigint / "
    "1000.0) "
    "FROM (SELECT tenant_id, id FROM runs WHERE tenant_id = $1 AND id = $2 AND fence = $3::bigint "
    "AND status IN ('queued', 'in_progress', 'cancelling') FOR UPDATE SKIP LOCKED) mine "
    "WHERE r.tenant_id = mine.tenant_id AND r.id = mine.id";

absl::StatusOr<std::vector<LeaseState>> Leases::Renew(const std::vector<LeaseKey>& leases,
                                                      bool extend) {
  std::vector<LeaseState> states;
  RETURN_IF_ERROR(database_.Transact("renew_leases", [&](Transaction& tx) -> absl::Status {
    states.clear();
    if (extend) RETURN_IF_ERROR(tx.Execute(kRelaxCommit).status());
    for (const LeaseKey& lease : leases) {
      if (extend) {
        RETURN_IF_ERROR(
            tx.Execute(kExtend, {lease.tenant, lease.run_id, lease.fence, duration_.count()})
                .status());
      }
      ASSIGN_OR_RETURN(const Rows rows,
                       tx.Execute(kLeaseStatus, {lease.tenant, lease.run_id, lease.fence}));
      states.push_back({.run_id = lease.run_id,
                        .lost = rows.empty(),
                        .cancelling = !rows.empty() && rows.Text(0, 0) == "cancelling"});
    }
    return absl::OkStatus();
  }));
  return states;
}

constexpr std::string_view kRelease =
    "UPDATE runs SET lease_owner = NULL, lease_until = NULL "
    "WHERE tenant_id = $1 AND id = $2 AND fence = $3::bigint "
    "AND status IN ('queued', 'in_progress', 'cancelling')";

absl::Status Leases::Release(const LeaseKey& lease) {
  return database_.Transact("release_lease", [&](Transaction& tx) -> absl::Status {
    return tx.Execute(kRelease, {lease.tenant, lease.run_id, lease.fence}).status();
  });
}

constexpr std::string_view kOverdue =
    "SELECT tenant_id, thread_id, id FROM runs WHERE status IN ('queued', 'requires_action') "
    "AND expires_at <= clock_timestamp() "
    "AND (lease_until IS NULL OR lease_until < clock_timestamp()) ORDER BY created_at LIMIT 100";

absl::StatusOr<std::vector<std::string>> ExpireRuns(Database& database) {
  ASSIGN_OR_RETURN(const Rows overdue, database.Query("find_overdue", kOverdue));
  std::vector<std::string> expired;
  for (int i = 0; i < overdue.size(); ++i) {
    bool ended = false;
    const absl::Status status =
        database.Transact("expire_run", [&](Transaction& tx) -> absl::Status {
          ended = false;
          ASSIGN_OR_RETURN(RunChange change,
                           RunChange::Begin(tx, overdue.String(i, 0), overdue.String(i, 1),
                                            overdue.String(i, 2)));
          // It may have gone on since it was found.
          const bool still = change.status() == pb::RUN_STATUS_QUEUED ||
                             change.status() == pb::RUN_STATUS_REQUIRES_ACTION;
          if (!still || !change.past_expiry()) return absl::OkStatus();
          RETURN_IF_ERROR(EndEarly(tx, change, pb::RUN_STATUS_EXPIRED, nullptr));
          ended = true;
          return change.Save();
        });
    if (absl::IsUnavailable(status)) return status;
    if (status.ok() && ended) expired.push_back(overdue.String(i, 2));
  }
  return expired;
}

}  // namespace conclave::store
