#include <array>

#include "gateway/dialects/admin/routes.h"
#include "gateway/dialects/anthropic/routes.h"
#include "gateway/dialects/dialect.h"
#include "gateway/dialects/llm_serving/routes.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/openai/routes.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway {
namespace {

constexpr std::array kDialects = {
    Dialect{"openai", openai::AddRoutes},       Dialect{"ollama", ollama::AddRoutes},
    Dialect{"anthropic", anthropic::AddRoutes}, Dialect{"llm_serving", llm_serving::AddRoutes},
    Dialect{"utility", utility::AddRoutes},     Dialect{"admin", admin::AddRoutes},
};

}  // namespace

std::span<const Dialect> AllDialects() { return kDialects; }

}  // namespace conclave::gateway
