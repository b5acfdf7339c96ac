// The tables of all dialects as people and programs read them.
#pragma once

#include <string>
#include <vector>

#include "conclave/v1/models.pb.h"

namespace conclave::gateway {

// docs/coverage.md; `conclave-gateway --print-coverage` writes it.
std::string CoverageMarkdown();

// GET /v1/capabilities: the same by dialect, and what each model can.
std::string CapabilitiesJson(const std::vector<v1::ModelStatus>& models);

}  // namespace conclave::gateway
