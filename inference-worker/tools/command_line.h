// The first lines of a tool's main: options from flags and environment, no configuration file.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"

namespace conclave::engine {

// The exit code main returns at once; nothing = go on.
inline std::optional<int> ParseCommandLine(base::OptionSet& options, int argc,
                                           const char* const* argv,
                                           std::vector<std::string>* positional = nullptr) {
  const absl::StatusOr<base::OptionSet::Action> action = options.Parse(argc, argv, {}, positional);
  if (!action.ok()) {
    std::fprintf(stderr, "%s\n", std::string(action.status().message()).c_str());
    return 2;
  }
  if (*action == base::OptionSet::Action::kRun) return std::nullopt;
  const bool help = *action == base::OptionSet::Action::kHelp;
  std::fputs((help ? options.Help() : options.EffectiveYaml()).c_str(), stdout);
  return 0;
}

// Prints why and gives main's exit code.
inline int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace conclave::engine
