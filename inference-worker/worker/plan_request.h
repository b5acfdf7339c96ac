// PlanModel: what a model would take in this worker.
#pragma once

#include "absl/status/status.h"
#include "conclave/v1/models.pb.h"
#include "worker/model_host.h"

namespace conclave::worker {

// Reads the header of a file: not for a gRPC thread. INVALID_ARGUMENT naming the field: both or
// neither of model and path, a value out of range, a model that is none of our engine's. NOT_FOUND,
// PERMISSION_DENIED as for loading.
absl::Status PlanFor(const ModelHost& host, const conclave::v1::PlanModelRequest& request,
                     conclave::v1::MemoryPlan* plan);

}  // namespace conclave::worker
