#include "gateway/dialects/bare_path.h"

namespace conclave::gateway {

std::string_view BarePath(std::string_view path) {
  for (const std::string_view prefix : {"/openai/v1", "/openai", "/v1"}) {
    if (path.substr(0, prefix.size()) == prefix && path.substr(prefix.size(), 1) == "/") {
      return path.substr(prefix.size());
    }
  }
  return path;
}

}  // namespace conclave::gateway
