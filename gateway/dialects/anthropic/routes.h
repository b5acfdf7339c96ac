// The routes of the Anthropic dialect, with and without /v1.
#pragma once

#include <string>

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::anthropic {

void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

// Finds the model of `*name` (generation.h) and holds what the conversation asks against what it
// can. INVALID_ARGUMENT names the field that asks too much.
absl::Status CheckModel(const Services& services, const v1::ChatPrompt& chat, std::string* name);

void AddMessageRoutes(Router& router, const Services& services);
void AddCountTokensRoutes(Router& router, const Services& services);

}  // namespace conclave::gateway::anthropic
