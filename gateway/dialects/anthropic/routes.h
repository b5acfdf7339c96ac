// The routes of the Anthropic dialect, with and without /v1.
#pragma once

#include <string>

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::anthropic {

void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

void AddMessageRoutes(Router& router, const Services& services);
void AddCountTokensRoutes(Router& router, const Services& services);

}  // namespace conclave::gateway::anthropic
