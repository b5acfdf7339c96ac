#include "gateway/dialects/coverage.h"

namespace conclave::gateway {

namespace {

std::string_view WithoutVersion(std::string_view path) {
  constexpr std::string_view kVersion = "/v1";
  const bool versioned = path.substr(0, kVersion.size() + 1) == "/v1/";
  return versioned ? path.substr(kVersion.size()) : path;
}

}  // namespace

bool IsAt(const Endpoint& endpoint, std::string_view pattern) {
  if (endpoint.has_no_twin) return endpoint.path == pattern;
  return WithoutVersion(endpoint.path) == WithoutVersion(pattern);
}

std::string_view TreatmentName(Treatment treatment) {
  switch (treatment) {
    case Treatment::kHonoured:
      return "honoured";
    case Treatment::kIfModelCan:
      return "honoured if the model can";
    case Treatment::kRefused:
      return "refused";
    case Treatment::kIgnored:
      return "ignored";
  }
  return "";
}

}  // namespace conclave::gateway
