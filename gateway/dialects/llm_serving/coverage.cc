#include "gateway/dialects/coverage.h"

#include "gateway/dialects/llm_serving/routes.h"

namespace conclave::gateway::llm_serving {

// Its other routes are the OpenAI dialect's without /v1.
Coverage DialectCoverage() { return {{{"GET", "/chat", "Whether a model is served, and which"}}}; }

}  // namespace conclave::gateway::llm_serving
