#include "gateway/dialects/ai_backend/query.h"

#include <optional>
#include <utility>

#include "gateway/http/request.h"

namespace conclave::gateway::ai_backend {
namespace {

std::string Unquoted(std::string text) {
  const bool quoted = text.size() >= 2 && text.front() == text.back() &&
                      (text.front() == '"' || text.front() == '\'');
  return quoted ? text.substr(1, text.size() - 2) : text;
}

}  // namespace

std::map<std::string, std::string> ParseQuery(std::string_view query) {
  std::map<std::string, std::string> values;
  while (!query.empty()) {
    const size_t end = query.find_first_of("?&");
    const std::string_view pair = query.substr(0, end);
    const size_t equals = pair.find('=');
    if (equals != std::string_view::npos && equals > 0) {
      std::optional<std::string> name = PercentDecode(pair.substr(0, equals), true);
      std::optional<std::string> value = PercentDecode(pair.substr(equals + 1), true);
      if (name && value) values.emplace(*std::move(name), Unquoted(*std::move(value)));
    }
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
  }
  return values;
}

}  // namespace conclave::gateway::ai_backend
