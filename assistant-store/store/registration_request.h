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

// A model derived from a derived one is derived from that one's base: what it says itself comes
// first, what it leaves open is inherited, so the model in the middle may go.
void Inherit(const conclave::v1::DerivedModel& from, conclave::v1::DerivedModel* derived);

}  // namespace conclave::store
