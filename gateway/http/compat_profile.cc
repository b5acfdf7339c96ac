#include "gateway/http/compat_profile.h"

#include <array>
#include <utility>

namespace conclave::gateway {
namespace {

using Row = std::pair<CompatProfile, std::string_view>;
constexpr std::array kProfiles = {
    Row{CompatProfile::kStrict, "strict"},
    Row{CompatProfile::kKtLegacy, "kt-legacy"},
    Row{CompatProfile::kLsSeed, "ls-seed"},
    Row{CompatProfile::kLlmServing, "llm-serving"},
};

}  // namespace

std::string_view CompatProfileName(CompatProfile profile) {
  for (const auto& [known, name] : kProfiles) {
    if (known == profile) return name;
  }
  return {};
}

std::optional<CompatProfile> FindCompatProfile(std::string_view name) {
  for (const auto& [profile, known] : kProfiles) {
    if (known == name) return profile;
  }
  return std::nullopt;
}

}  // namespace conclave::gateway
