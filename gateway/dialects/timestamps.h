// Times as text.
#pragma once

#include <cstdint>
#include <string>

namespace conclave::gateway {

// "2026-01-02T03:04:05.678000000Z"
std::string Rfc3339(int64_t unix_millis);

}  // namespace conclave::gateway
