#include "gateway/dialects/coverage.h"

#include "gateway/dialects/bare_path.h"

namespace conclave::gateway {

bool IsAt(const Endpoint& endpoint, std::string_view pattern) {
  if (endpoint.has_no_twin) return endpoint.path == pattern;
  return BarePath(endpoint.path) == BarePath(pattern);
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
