#include <array>

#include "gateway/dialects/admin/routes.h"
#include "gateway/dialects/ai_backend/routes.h"
#include "gateway/dialects/anthropic/routes.h"
#include "gateway/dialects/dialect.h"
#include "gateway/dialects/llama_stack/routes.h"
#include "gateway/dialects/llm_serving/routes.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/openai/coverage.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway {
namespace {

constexpr std::array kDialects = {
    Dialect{"openai", openai::AddRoutes, openai::DialectCoverage},
    Dialect{"ollama", ollama::AddRoutes, ollama::DialectCoverage},
    Dialect{"anthropic", anthropic::AddRoutes, anthropic::DialectCoverage},
    Dialect{"llm_serving", llm_serving::AddRoutes, llm_serving::DialectCoverage},
    Dialect{"utility", utility::AddRoutes, utility::DialectCoverage},
    Dialect{"llama_stack", llama_stack::AddRoutes, llama_stack::DialectCoverage},
    Dialect{"ai_backend", ai_backend::AddRoutes, ai_backend::DialectCoverage},
    Dialect{"admin", admin::AddRoutes, admin::DialectCoverage},
};

}  // namespace

std::span<const Dialect> AllDialects() { return kDialects; }

}  // namespace conclave::gateway
