// Probes, version and metrics on the public listener.
#pragma once

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::utility {

void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

}  // namespace conclave::gateway::utility
