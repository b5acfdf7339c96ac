// What a caller may register, and what of it decides that two registrations are the same.
#pragma once

#include <string>

#include "base/status.h"
#include "conclave/v1/registrations.pb.h"

namespace conclave::store {

// Bounds and shape of what a caller gives. INVALID_ARGUMENT with the field.
absl::Status CheckRegistration(const conclave::v1::ModelRegistration& registration);

// Of everything the caller said: equal for equal registrations.
std::string DigestOf(const conclave::v1::ModelRegistration& registration);

// What a derived model leaves open it takes from the one it is made from. One that is derived
// itself gives its base as well, so that the model in the middle may go.
void Inherit(const conclave::v1::ModelRegistration& from, conclave::v1::DerivedModel* derived);

}  // namespace conclave::store
