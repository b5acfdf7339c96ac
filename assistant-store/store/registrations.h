// Models registered at run time, as rows: what survives every restart. jobs/registrar carries them
// to the workers.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "conclave/v1/registrations.pb.h"
#include "store/db/transaction.h"

namespace conclave::store {

// Who registers and removes, for the service. Thread-safe; calls wait for workers.
class ModelRegistrar {
 public:
  virtual ~ModelRegistrar() = default;
  virtual absl::StatusOr<conclave::v1::ModelRegistration> Register(
      const conclave::v1::RegisterModelRequest& request) = 0;
  virtual absl::StatusOr<conclave::v1::DeleteReply> Unregister(
      const conclave::v1::UnregisterModelRequest& request) = 0;
};

// Thread-safe. Names are equal whatever their case. Errors besides those named: UNAVAILABLE.
class Registrations final {
 public:
  explicit Registrations(Database& database) : database_(database) {}

  // By name or alias. NOT_FOUND (model_not_found).
  absl::StatusOr<conclave::v1::ModelRegistration> Get(
      const conclave::v1::GetRegistrationRequest& request);
  absl::StatusOr<conclave::v1::ListRegistrationsReply> List(
      const conclave::v1::ListRegistrationsRequest& request);

  // What the workers should have, oldest first.
  struct Desired {
    conclave::v1::ModelRegistration registration;
    bool busy = false;      // somebody is just registering or replacing it
    bool accepted = false;  // a worker has taken it up once
  };
  absl::StatusOr<std::vector<Desired>> All();

  // Takes a name for the time a worker needs to say yes or no; until Settle nobody sees a new one.
  // `registration` is checked and has its digest. Gives what is there already when it says the
  // same. ALREADY_EXISTS: a name or alias is taken and not to be replaced. FAILED_PRECONDITION
  // (model_in_use): it is to be replaced and others derive from it. UNAVAILABLE: it is being
  // registered.
  absl::StatusOr<std::optional<conclave::v1::ModelRegistration>> Begin(
      const conclave::v1::ModelRegistration& registration, bool replace,
      std::chrono::milliseconds patience);
  // The worker's answer: keeps what Begin was told, or leaves things as they were before it.
  absl::StatusOr<conclave::v1::ModelRegistration> Settle(
      const conclave::v1::ModelRegistration& registration, bool taken);

  // By its own name. NOT_FOUND; FAILED_PRECONDITION (model_in_use) while others derive from it.
  absl::StatusOr<conclave::v1::ModelRegistration> Delete(const std::string& name);

 private:
  Database& database_;
};

}  // namespace conclave::store
