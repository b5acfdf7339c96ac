// AI-Backend (seed 002): /post/predict?id=MODEL and its sisters.
#pragma once

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::ai_backend {

void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

// One handler for each operation.
Task<void> Predict(const Router& router, const Services& services, Exchange& exchange);
Task<void> GetLogs(const Services& services, Exchange& exchange);
Task<void> CleanLogs(const Services& services, Exchange& exchange);
Task<void> AddModel(const Services& services, Exchange& exchange);

// The model that the query names. INVALID_ARGUMENT (id).
absl::StatusOr<std::string> ModelOf(const Exchange& exchange);

}  // namespace conclave::gateway::ai_backend
