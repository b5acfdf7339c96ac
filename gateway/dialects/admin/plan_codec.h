// Memory plans as JSON, both ways.
#pragma once

#include <string>
#include <string_view>

#include "conclave/v1/models.pb.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway::admin {

// INVALID_ARGUMENT naming the field; one of model and path must be there.
absl::StatusOr<v1::PlanModelRequest> DecodePlanRequest(std::string_view body);
// The first refusal when no worker has a plan.
absl::StatusOr<std::string> EncodePlans(const ModelPlans& plans);

}  // namespace conclave::gateway::admin
