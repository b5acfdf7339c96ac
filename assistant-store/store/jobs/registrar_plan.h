// What is missing and what is too much on the workers, by comparing what they say with the rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mesh/fleet.h"
#include "store/registrations.h"

namespace conclave::store {

struct RegistrarAction {
  enum class Kind {
    kLoad,
    kUnload,
    kYield,  // the worker serves the name by its own configuration, which wins
  };
  Kind kind = Kind::kLoad;
  std::string worker_id;
  uint64_t epoch = 0;  // of the worker's process
  std::string name;
  std::string digest;  // of the registration: what is to be loaded, or what is there
  const conclave::v1::ModelRegistration* registration = nullptr;  // of kLoad: into `desired`
};

// One step for each model and worker; what comes after it is another plan's. Names that somebody is
// just registering are left alone. A derived model waits for its base.
std::vector<RegistrarAction> PlanFor(const mesh::Fleet& fleet,
                                     const std::vector<Registrations::Desired>& desired);

}  // namespace conclave::store
