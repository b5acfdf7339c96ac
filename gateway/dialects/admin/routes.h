// Models registered, listed, loaded, planned, removed; their logs and experts.
#pragma once

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::admin {

Coverage DialectCoverage();
void AddRoutes(Router& router, const Services& services);
// Load, unload, plan.
void AddLifeRoutes(Router& router, const Services& services);
// Where experts lie.
void AddExpertRoutes(Router& router, const Services& services);

}  // namespace conclave::gateway::admin
