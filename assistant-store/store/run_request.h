// From a request to a run: the limits, and what the run takes from its assistant.
#pragma once

#include "base/status.h"
#include "conclave/v1/assistants.pb.h"
#include "conclave/v1/runs.pb.h"

namespace conclave::store {

// What can be said without the assistant. INVALID_ARGUMENT with the field.
absl::Status CheckRunRequest(const conclave::v1::CreateRunRequest& request);

// The parameters of the run: the request's where given, else the assistant's. INVALID_ARGUMENT when
// they do not go together (a tool choice that names no tool).
absl::StatusOr<conclave::v1::Run> RunParams(const conclave::v1::CreateRunRequest& request,
                                            const conclave::v1::Assistant& assistant);

// Every call answered exactly once, and nothing else. INVALID_ARGUMENT.
absl::Status CheckToolOutputs(
    const google::protobuf::RepeatedPtrField<conclave::v1::ToolCall>& calls,
    const google::protobuf::RepeatedPtrField<conclave::v1::ToolOutput>& outputs);

}  // namespace conclave::store
