// DerivedModel ⇄ DerivedSpec. Here, too, are the bounds of its parts.
#pragma once

#include "absl/status/statusor.h"
#include "conclave/v1/models.pb.h"
#include "worker/derived_backend.h"

namespace conclave::worker {

// INVALID_ARGUMENT naming the field: a parameter of a wrong type or out of range, a template that
// does not parse, with its line.
absl::StatusOr<DerivedSpec> FromProto(const conclave::v1::DerivedModel& from);

// `with_texts`: also the long parts, which no list needs.
void ToProto(const DerivedSpec& from, bool with_texts, conclave::v1::DerivedModel* to);

}  // namespace conclave::worker
