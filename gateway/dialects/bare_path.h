// Twins: a route that exists under several prefixes is one endpoint.
#pragma once

#include <string_view>

namespace conclave::gateway {

// The path without /v1, or without Azure's /openai/v1 or /openai.
std::string_view BarePath(std::string_view path);

}  // namespace conclave::gateway
