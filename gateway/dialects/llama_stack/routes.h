// The routes of Llama Stack: inference on three wires, models, providers, and what a client asks
// of a server about itself.
#pragma once

#include <span>

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::llama_stack {

// After the OpenAI dialect's, which it gives a second path.
void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

void AddInferenceRoutes(Router& router, const Services& services);
void AddModelRoutes(Router& router, const Services& services);
void AddInspectRoutes(Router& router, const Services& services);
void AddOpenAiAliases(Router& router);

// Known and not served, with all below that has no route.
std::span<const Unserved> UnservedFamilies();

}  // namespace conclave::gateway::llama_stack
