#include "gateway/dialects/coverage.h"

namespace conclave::gateway {

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
