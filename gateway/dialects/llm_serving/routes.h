// What seed 001 (llm_serving) serves besides the OpenAI routes without /v1: GET /chat.
#pragma once

#include "gateway/dialects/dialect.h"

namespace conclave::gateway::llm_serving {

void AddRoutes(Router& router, const Services& services);
Coverage DialectCoverage();

}  // namespace conclave::gateway::llm_serving
