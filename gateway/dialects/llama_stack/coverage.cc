#include "gateway/dialects/coverage.h"

#include "gateway/dialects/llama_stack/routes.h"

namespace conclave::gateway::llama_stack {

Coverage DialectCoverage() { return {}; }

}  // namespace conclave::gateway::llama_stack
