#include <array>

#include "gateway/dialects/ai_backend/routes.h"
#include "gateway/dialects/anthropic/routes.h"
#include "gateway/dialects/dialect.h"
#include "gateway/dialects/llama_stack/routes.h"
#include "gateway/dialects/llm_serving/routes.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway {
namespace {

constexpr std::array kDialects = {
    Dialect{"openai", openai::AddRoutes},         Dialect{"ollama", ollama::AddRoutes},
    Dialect{"anthropic", anthropic::AddRoutes},   Dialect{"llm_serving", llm_serving::AddRoutes},
    Dialect{"utility", utility::AddRoutes},       Dialect{"llama_stack", llama_stack::AddRoutes},
    Dialect{"ai_backend", ai_backend::AddRoutes},
};

}  // namespace

std::span<const Dialect> AllDialects() { return kDialects; }

}  // namespace conclave::gateway
