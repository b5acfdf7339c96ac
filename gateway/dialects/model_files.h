// Model files brought to the workers, for every dialect that has a way to do it. Each worker keeps
// its own (docs/decisions/): what is done is done on all that take files.
#pragma once

#include <string>

#include "gateway/dialects/generation.h"

namespace conclave::gateway {

// OK when every worker that takes files has the blob. NOT_FOUND; FAILED_PRECONDITION
// (no_blob_folder): none takes any.
Task<absl::Status> FindBlob(const Services& services, Exchange& exchange, std::string digest);

// Passes the request's body on to the workers as it comes. INVALID_ARGUMENT (digest_mismatch);
// RESOURCE_EXHAUSTED; whatever ended the body.
Task<absl::Status> StoreBlob(const Services& services, Exchange& exchange, std::string digest);

}  // namespace conclave::gateway
