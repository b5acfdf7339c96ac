#include "gateway/dialects/timestamps.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace conclave::gateway {

std::string Rfc3339(int64_t unix_millis) {
  const std::time_t seconds = static_cast<std::time_t>(unix_millis / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  const int n = std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03d000000Z",
                              parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                              parts.tm_min, parts.tm_sec, static_cast<int>(unix_millis % 1000));
  return std::string(text.data(), static_cast<size_t>(n));
}

}  // namespace conclave::gateway
