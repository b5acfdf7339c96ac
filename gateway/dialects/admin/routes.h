// Models registered, listed, loaded, planned, removed; their logs.
#pragma once

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::admin {

Coverage DialectCoverage();
void AddRoutes(Router& router, const Services& services);
// Load, unload, plan.
void AddLifeRoutes(Router& router, const Services& services);

}  // namespace conclave::gateway::admin
