#include "store/jobs/duty.h"

namespace conclave::store {

constexpr std::string_view kHoldDuty =
    "INSERT INTO duties (duty, owner, lease_until) "
    "VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3::bigint / 1000.0)) "
    "ON CONFLICT (duty) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until "
    "WHERE duties.owner = excluded.owner OR duties.lease_until < clock_timestamp() "
    "RETURNING duty";

absl::StatusOr<bool> Duty::Hold() {
  bool held = false;
  RETURN_IF_ERROR(database_.Transact("hold_duty", [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kHoldDuty, {duty_, owner_, lease_.count()}));
    held = !rows.empty();
    return absl::OkStatus();
  }));
  return held;
}

constexpr std::string_view kReleaseDuty = "DELETE FROM duties WHERE duty = $1 AND owner = $2";

absl::Status Duty::Release() {
  return database_.Transact("release_duty", [&](Transaction& tx) -> absl::Status {
    return tx.Execute(kReleaseDuty, {duty_, owner_}).status();
  });
}

}  // namespace conclave::store
