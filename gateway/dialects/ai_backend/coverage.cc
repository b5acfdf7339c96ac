#include "gateway/dialects/coverage.h"

#include "gateway/dialects/ai_backend/routes.h"

namespace conclave::gateway::ai_backend {

Coverage DialectCoverage() { return {}; }

}  // namespace conclave::gateway::ai_backend
