// Every backend there is.
#include <array>

#include "absl/strings/str_cat.h"
#include "backends/backend.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

constexpr std::array<BackendKind, 2> kAll = {{
    {"native", OpenNative},
    {"scripted", OpenScripted},
}};

}  // namespace

std::span<const BackendKind> AllBackends() { return kAll; }

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(std::string_view kind,
                                                     const BackendSpec& spec) {
  std::string names;
  for (const BackendKind& row : kAll) {
    if (row.name == kind) return row.open(spec);
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(row.name));
  }
  return base::NotFound(
      absl::StrCat("backend: there is no \"", std::string(kind), "\"; there are ", names));
}

}  // namespace conclave::backends
