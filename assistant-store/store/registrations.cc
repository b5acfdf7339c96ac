#include "store/registrations.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "store/rows.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr std::chrono::seconds kBusyRetry{1};

absl::Status NoSuchModel(const std::string& name) {
  return base::WithReason(base::NotFound(absl::StrCat("no model is registered as \"", name, "\"")),
                          "model_not_found");
}

absl::Status Taken(const std::string& name) {
  return base::WithReason(
      absl::AlreadyExistsError(absl::StrCat("a model \"", name, "\" is registered already")),
      "model_exists");
}

absl::Status Busy(const std::string& name) {
  return base::WithRetryAfter(
      base::Unavailable(absl::StrCat("\"", name, "\" is being registered just now")), kBusyRetry);
}

pb::ModelRegistration BodyOf(pb::ModelRegistration registration) {
  registration.clear_name();
  registration.clear_created_at();
  registration.clear_digest();
  return registration;
}

// Every name it goes by, in lower case.
std::vector<std::string> NamesOf(const pb::ModelRegistration& registration) {
  std::vector<std::string> names = {absl::AsciiStrToLower(registration.name())};
  for (const std::string& alias : registration.aliases()) {
    names.push_back(absl::AsciiStrToLower(alias));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

constexpr std::string_view kColumns =
    "r.name, extract(epoch FROM r.created_at)::bigint, r.body, r.digest, r.accepted, "
    "r.busy_until > clock_timestamp()";

absl::StatusOr<Registrations::Desired> FromRow(const Rows& rows, int row) {
  Registrations::Desired desired;
  pb::ModelRegistration& registration = desired.registration;
  RETURN_IF_ERROR(FromJsonRow(rows.Text(row, 2), &registration));
  registration.set_name(rows.String(row, 0));
  registration.set_created_at(rows.Int(row, 1));
  registration.set_digest(rows.String(row, 3));
  desired.accepted = rows.Bool(row, 4);
  desired.busy = !rows.IsNull(row, 5) && rows.Bool(row, 5);
  return desired;
}

// Registering is rare and its rules span rows: one at a time.
constexpr std::string_view kLockAll = "LOCK TABLE registrations IN SHARE ROW EXCLUSIVE MODE";

const std::string kFind = absl::StrCat("SELECT ", base::Abs(kColumns),
                                       " FROM registrations r JOIN registered_names n "
                                       "ON n.registration = r.name WHERE n.name = $1");

absl::StatusOr<std::optional<Registrations::Desired>> Find(Transaction& tx,
                                                           const std::string& name) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kFind, {absl::AsciiStrToLower(name)}));
  if (rows.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(Registrations::Desired found, FromRow(rows, 0));
  return found;
}

constexpr std::string_view kDerivedFrom =
    "SELECT r.name FROM registrations r JOIN registered_names n "
    "ON n.name = lower(r.body->'derived'->>'base') WHERE n.registration = $1 ORDER BY r.name";

absl::Status CheckUnused(Transaction& tx, const std::string& name) {
  ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kDerivedFrom, {name}));
  if (rows.empty()) return absl::OkStatus();
  std::string users;
  for (int i = 0; i < std::min(rows.size(), 5); ++i) {
    absl::StrAppend(&users, i > 0 ? ", " : "", rows.String(i, 0));
  }
  return base::WithReason(base::FailedPrecondition(absl::StrCat(
                              "\"", name, "\" is in use: derived from it are ", users)),
                          "model_in_use");
}

constexpr std::string_view kTakeName =
    "INSERT INTO registered_names (name, registration) VALUES ($1, $2) "
    "ON CONFLICT (name) DO UPDATE SET name = excluded.name "
    "WHERE registered_names.registration = excluded.registration RETURNING name";

absl::Status TakeNames(Transaction& tx, const pb::ModelRegistration& registration) {
  for (const std::string& name : NamesOf(registration)) {
    ASSIGN_OR_RETURN(const Rows rows, tx.Execute(kTakeName, {name, registration.name()}));
    if (rows.empty()) return Taken(name);
  }
  return absl::OkStatus();
}

constexpr std::string_view kDropRow = "DELETE FROM registrations WHERE name = $1";

}  // namespace

const std::string kGet = kFind + " AND r.accepted";

absl::StatusOr<pb::ModelRegistration> Registrations::Get(
    const pb::GetRegistrationRequest& request) {
  ASSIGN_OR_RETURN(const Rows rows, database_.Query("get_registration", kGet,
                                                    {absl::AsciiStrToLower(request.name())}));
  if (rows.empty()) return NoSuchModel(request.name());
  ASSIGN_OR_RETURN(Desired found, FromRow(rows, 0));
  return std::move(found.registration);
}

const std::string kAll = absl::StrCat("SELECT ", base::Abs(kColumns),
                                      " FROM registrations r ORDER BY r.created_at, r.name");

absl::StatusOr<std::vector<Registrations::Desired>> Registrations::All() {
  ASSIGN_OR_RETURN(const Rows rows, database_.Query("list_registrations", kAll));
  std::vector<Desired> all;
  for (int i = 0; i < rows.size(); ++i) {
    ASSIGN_OR_RETURN(Desired desired, FromRow(rows, i));
    all.push_back(std::move(desired));
  }
  return all;
}

absl::StatusOr<pb::ListRegistrationsReply> Registrations::List(
    const pb::ListRegistrationsRequest&) {
  ASSIGN_OR_RETURN(std::vector<Desired> all, All());
  pb::ListRegistrationsReply reply;
  for (Desired& desired : all) {
    if (desired.accepted) *reply.add_registrations() = std::move(desired.registration);
  }
  return reply;
}

constexpr std::string_view kInsert =
    "INSERT INTO registrations (name, digest, body, busy_until) VALUES ($1, $2, $3::jsonb, "
    "clock_timestamp() + make_interval(secs => $4::bigint / 1000.0))";
constexpr std::string_view kHold =
    "UPDATE registrations SET busy_until = clock_timestamp() + "
    "make_interval(secs => $2::bigint / 1000.0) WHERE name = $1";

absl::StatusOr<std::optional<pb::ModelRegistration>> Registrations::Begin(
    const pb::ModelRegistration& registration, bool replace, std::chrono::milliseconds patience) {
  const std::string& name = registration.name();
  std::optional<pb::ModelRegistration> same;
  RETURN_IF_ERROR(database_.Transact("begin_registration", [&](Transaction& tx) -> absl::Status {
    same.reset();
    RETURN_IF_ERROR(tx.Execute(kLockAll).status());
    ASSIGN_OR_RETURN(std::optional<Desired> found, Find(tx, name));
    if (found && found->busy) return Busy(name);
    if (found && !found->accepted) {
      // Whoever began it died before the worker's answer.
      RETURN_IF_ERROR(tx.Execute(kDropRow, {found->registration.name()}).status());
      found.reset();
    }
    if (found && found->registration.digest() == registration.digest()) {
      same = std::move(found->registration);
      return absl::OkStatus();
    }
    if (found && (!replace || found->registration.name() != name)) return Taken(name);
    if (found) {
      RETURN_IF_ERROR(CheckUnused(tx, name));
      RETURN_IF_ERROR(tx.Execute(kHold, {name, patience.count()}).status());
    } else {
      RETURN_IF_ERROR(tx.Execute(kInsert, {name, registration.digest(),
                                           ToJsonRow(BodyOf(registration)), patience.count()})
                          .status());
    }
    return TakeNames(tx, registration);
  }));
  return same;
}

constexpr std::string_view kAccept =
    "UPDATE registrations SET accepted = true, busy_until = NULL, digest = $2, body = $3::jsonb "
    "WHERE name = $1";
constexpr std::string_view kLetGo =
    "UPDATE registrations SET busy_until = NULL WHERE name = $1 AND accepted";
constexpr std::string_view kDropUntaken =
    "DELETE FROM registrations WHERE name = $1 AND NOT accepted";
constexpr std::string_view kDropNames = "DELETE FROM registered_names WHERE registration = $1";

absl::StatusOr<pb::ModelRegistration> Registrations::Settle(
    const pb::ModelRegistration& registration, bool taken) {
  const std::string& name = registration.name();
  pb::ModelRegistration settled;
  RETURN_IF_ERROR(database_.Transact("settle_registration", [&](Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(tx.Execute(kLockAll).status());
    if (taken) {
      RETURN_IF_ERROR(
          tx.Execute(kAccept, {name, registration.digest(), ToJsonRow(BodyOf(registration))})
              .status());
    } else {
      RETURN_IF_ERROR(tx.Execute(kDropUntaken, {name}).status());
      RETURN_IF_ERROR(tx.Execute(kLetGo, {name}).status());
    }
    ASSIGN_OR_RETURN(std::optional<Desired> found, Find(tx, name));
    if (!found) {
      // A slow worker's yes may come after somebody else found the name free again.
      return taken ? Busy(name) : absl::OkStatus();
    }
    settled = std::move(found->registration);
    // Names that only the other side of a replacement had are free.
    RETURN_IF_ERROR(tx.Execute(kDropNames, {name}).status());
    return TakeNames(tx, settled);
  }));
  return settled;
}

absl::StatusOr<pb::ModelRegistration> Registrations::Delete(const std::string& name) {
  pb::ModelRegistration gone;
  RETURN_IF_ERROR(database_.Transact("delete_registration", [&](Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(tx.Execute(kLockAll).status());
    ASSIGN_OR_RETURN(std::optional<Desired> found, Find(tx, name));
    if (!found || !found->accepted) return NoSuchModel(name);
    gone = std::move(found->registration);
    if (absl::AsciiStrToLower(gone.name()) != absl::AsciiStrToLower(name)) {
      return NoSuchModel(name);  // an alias
    }
    if (found->busy) return Busy(name);
    RETURN_IF_ERROR(CheckUnused(tx, gone.name()));
    return tx.Execute(kDropRow, {gone.name()}).status();
  }));
  return gone;
}

}  // namespace conclave::store
