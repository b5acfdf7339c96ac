// The query of this dialect, which its own examples write with a second '?' and with quotes:
// ?id=X?type=httpmodel?dest="127.0.0.1:8888".
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace conclave::gateway::ai_backend {

// '?' and '&' both separate; values are decoded and lose the quotes around them. The first of a
// name counts; what cannot be decoded is left out.
std::map<std::string, std::string> ParseQuery(std::string_view query);

}  // namespace conclave::gateway::ai_backend
