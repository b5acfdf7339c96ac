// Quirks of the servers that came before, for clients that depend on them: chosen by the listener
// or the key a request comes with. Without one the protocols are spoken as they are written.
#pragma once

#include <optional>
#include <string_view>

namespace conclave::gateway {

enum class CompatProfile { kStrict, kKtLegacy, kLsSeed, kLlmServing };

// "strict", "kt-legacy", "ls-seed", "llm-serving".
std::string_view CompatProfileName(CompatProfile profile);
std::optional<CompatProfile> FindCompatProfile(std::string_view name);

}  // namespace conclave::gateway
