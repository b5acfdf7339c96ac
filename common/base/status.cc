#include "base/status.h"

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace conclave::base {

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(Abs(context), ": ", status.message()));
}

}  // namespace conclave::base
