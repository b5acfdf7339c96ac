// A YAML file → the options of base/options.h. config.cc is the one file that knows yaml-cpp; it is
// the target conclave::config, so that a binary without configuration files does not link it.
#pragma once

#include <optional>
#include <string>

#include "base/options.h"
#include "base/status.h"

namespace conclave::base {

// Flattens a mapping: nested keys are joined with dashes, underscores become dashes, scalars are
// kept as text, sequences of scalars as lists. INVALID_ARGUMENT with the line: not a mapping, a key
// given twice (also in its two spellings), a sequence of mappings, anchors nested deeper than 16, a
// file of more than 1 MiB. NOT_FOUND: no such file.
absl::StatusOr<ConfigEntries> LoadConfigFile(const std::string& path);
absl::StatusOr<ConfigEntries> ParseConfig(const std::string& yaml);

// A file that is more than options, as one JSON object: mappings and sequences nested up to 16
// deep, plain scalars as the YAML 1.2 core schema reads them (true, null, 12, 1.5), quoted ones as
// strings. INVALID_ARGUMENT with the line and key: not a mapping, a key given twice, larger than
// 1 MiB. NOT_FOUND: no such file.
absl::StatusOr<std::string> LoadYamlAsJson(const std::string& path);
absl::StatusOr<std::string> YamlToJson(const std::string& yaml);

// The first lines of main(): parses, answers --help, --print-config and --check-config on stdout
// and complains on stderr. The value is the exit code main returns at once; nothing = go on.
std::optional<int> HandleOptions(OptionSet& options, int argc, const char* const* argv);

}  // namespace conclave::base
