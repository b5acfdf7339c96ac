// Registrations and logs as JSON, both ways.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conclave/v1/models.pb.h"
#include "conclave/v1/registrations.pb.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway::admin {

// "ready", "loading", "unloaded", …
std::string_view StateWord(v1::ModelStatus::State state);

absl::StatusOr<v1::RegisterModelRequest> DecodeRegistration(std::string_view body);

std::string EncodeRegistration(const v1::ModelRegistration& registration);
// `served`: what the workers have, registered or not.
std::string EncodeModels(const v1::ListRegistrationsReply& registered,
                         const std::vector<v1::ModelStatus>& served);
std::string EncodeLogs(const v1::GetModelLogsReply& logs);

}  // namespace conclave::gateway::admin
