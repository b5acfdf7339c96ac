// Every backend there is.
#include <array>

#include "absl/strings/str_cat.h"
#include "backends/backend.h"
#include "backends/provider.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

constexpr std::array<BackendKind, 2> kAll = {{
    {"native", OpenNative, OutlineNative},
    {"scripted", OpenScripted, OutlineScripted},
}};

constexpr std::array<ProviderType, 3> kProviderTypes = {{
    {"remote::openai", OpenRemoteOpenAi},
    {"remote::http", OpenRemoteHttp},
    {"subprocess", OpenSubprocess},
}};

absl::StatusOr<const BackendKind*> FindKind(std::string_view kind) {
  std::string names;
  for (const BackendKind& row : kAll) {
    if (row.name == kind) return &row;
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(row.name));
  }
  return base::NotFound(
      absl::StrCat("backend: there is no \"", std::string(kind), "\"; there are ", names));
}

}  // namespace

std::span<const BackendKind> AllBackends() { return kAll; }

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(std::string_view kind,
                                                     const BackendSpec& spec) {
  ASSIGN_OR_RETURN(const BackendKind* const row, FindKind(kind));
  return row->open(spec);
}

absl::StatusOr<Outline> OutlineModel(std::string_view kind, const BackendSpec& spec) {
  ASSIGN_OR_RETURN(const BackendKind* const row, FindKind(kind));
  return row->outline(spec);
}

std::span<const ProviderType> AllProviderTypes() { return kProviderTypes; }

absl::StatusOr<std::unique_ptr<Provider>> OpenProvider(std::string_view type,
                                                       const ProviderConfig& config) {
  std::string names;
  for (const ProviderType& row : kProviderTypes) {
    if (row.name == type) return row.open(config);
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(row.name));
  }
  return base::InvalidArgument(
      absl::StrCat("provider_type: there is no \"", std::string(type), "\"; there are ", names));
}

}  // namespace conclave::backends
