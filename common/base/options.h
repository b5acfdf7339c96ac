// The settings of one binary: each has a name, a typed place, a help line and limits, and is read
// from four sources. The later wins:
//
//   default  <  YAML file (--config FILE)  <  environment  <  command line
//
// One rule for names. An option is `tls-cert-file`; on the command line `--tls-cert-file=x` or
// `--tls-cert-file x` (a bool may stand alone: `--verbose`, `--no-verbose`); in the environment
// CONCLAVE_TLS_CERT_FILE; in YAML either `tls-cert-file: x` or nested, `tls: {cert-file: x}`: the
// path is joined with dashes, and underscores count as dashes. A list of strings is a YAML sequence
// or a comma-separated text. Unknown flags and unknown YAML keys are refused by name; unknown
// CONCLAVE_* variables are not (other programs of the family read them).
//
//   struct GatewayOptions { std::string listen = "127.0.0.1:8080"; };
//   GatewayOptions o;
//   OptionSet options("conclave-gateway", "The REST front of conclave.");
//   options.Add("listen", &o.listen, "address of the HTTP listener, host:port");
//   options.AddCheck([&] { return o.Validate(); });
//   if (auto code = HandleOptions(options, argc, argv)) return *code;   // base/config.h
//
// Not thread-safe; used once, at the start of main().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace conclave::base {

// What a configuration file says, flattened: name → values (one, or the elements of a sequence).
struct ConfigEntry {
  std::vector<std::string> values;
  bool is_list = false;
  int line = 0;  // from 1
};
using ConfigEntries = std::map<std::string, ConfigEntry>;

class OptionSet final {
 public:
  // Reads a file for --config. INVALID_ARGUMENT names the line, NOT_FOUND the path.
  using ConfigLoader = std::function<absl::StatusOr<ConfigEntries>(const std::string& path)>;

  enum class Action {
    kRun,          // go on
    kHelp,         // --help: print Help(), exit 0
    kPrintConfig,  // --print-config: print EffectiveYaml(), exit 0
    kCheckConfig,  // --check-config: everything is valid, exit 0
  };

  // `program` as it is called, `summary` one sentence for --help.
  OptionSet(std::string program, std::string summary);
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  // Each Add registers one name. The value found at `place` is the default; `place` must outlive
  // the set. Names are lower case with dashes and must be new (CHECKed).
  void Add(std::string_view name, std::string* place, std::string_view help);
  void Add(std::string_view name, bool* place, std::string_view help);
  void Add(std::string_view name, int* place, std::string_view help,
           int min = std::numeric_limits<int>::min(), int max = std::numeric_limits<int>::max());
  void Add(std::string_view name, int64_t* place, std::string_view help,
           int64_t min = std::numeric_limits<int64_t>::min(),
           int64_t max = std::numeric_limits<int64_t>::max());
  void Add(std::string_view name, double* place, std::string_view help,
           double min = std::numeric_limits<double>::lowest(),
           double max = std::numeric_limits<double>::max());
  // "250ms", "5s", "2m", "1h"; a bare number is milliseconds. Never negative.
  void Add(std::string_view name, std::chrono::milliseconds* place, std::string_view help,
           std::chrono::milliseconds min = std::chrono::milliseconds(0),
           std::chrono::milliseconds max = std::chrono::hours(24 * 365));
  void Add(std::string_view name, std::vector<std::string>* place, std::string_view help);
  // A size: "512", "64K", "32M", "1.5G" (powers of 1,024; "MB" and "MiB" mean the same as "M").
  void AddBytes(std::string_view name, int64_t* place, std::string_view help, int64_t min = 0,
                int64_t max = std::numeric_limits<int64_t>::max());
  // One of `choices`.
  void AddChoice(std::string_view name, std::string* place, std::vector<std::string> choices,
                 std::string_view help);
  // A secret: also registers `<name>-file`, whose content (trailing newline cut) becomes the value.
  // Never printed; refused when both are given.
  void AddSecret(std::string_view name, std::string* place, std::string_view help);
  // The same for a list; the file holds one entry per line, empty lines and lines with # are
  // skipped.
  void AddSecretList(std::string_view name, std::vector<std::string>* place, std::string_view help);

  // Runs after all sources are read, in the order added; the first error is the result of Parse.
  void AddCheck(std::function<absl::Status()> check);

  // Reads all sources. INVALID_ARGUMENT names the flag, variable or key and the line. Positional
  // arguments are refused unless `positional` takes them. Without a loader, --config is refused.
  absl::StatusOr<Action> Parse(int argc, const char* const* argv, const ConfigLoader& loader = {},
                               std::vector<std::string>* positional = nullptr);

  std::string Help() const;
  // Every option with its value in force and where it came from, as YAML that --config would take;
  // secrets as "<redacted>" in a comment.
  std::string EffectiveYaml() const;
  const std::string& program() const { return program_; }

 private:
  enum class Source { kDefault, kFile, kEnvironment, kFlag };
  struct Option {
    std::string name;
    std::string kind;  // "duration", "bytes", …, for --help
    std::string help;
    bool is_bool = false;
    bool is_list = false;
    bool secret = false;
    Source source = Source::kDefault;
    std::string default_text;
    // Takes the values of one source; the error says what is wrong with them, not where.
    std::function<absl::Status(const std::vector<std::string>&)> set;
    std::function<std::vector<std::string>()> get;
  };

  struct CommandLine {
    Action action = Action::kRun;
    std::map<Option*, std::vector<std::string>> values;
  };

  Option& Register(std::string_view name, std::string_view kind, std::string_view help);
  Option* Find(std::string_view name);
  void AddSecretFile(std::string_view name, std::string_view help);
  absl::Status Assign(Option& option, Source source, const std::vector<std::string>& values);
  absl::StatusOr<CommandLine> ReadCommandLine(int argc, const char* const* argv,
                                              std::vector<std::string>* positional);
  absl::Status ReadFlag(int argc, const char* const* argv, int* i, CommandLine* line);
  absl::Status ApplyFile(const ConfigLoader& loader, const std::string& path);
  absl::Status ApplyEnvironment();
  absl::Status ReadSecretFiles();

  std::string program_;
  std::string summary_;
  std::vector<std::unique_ptr<Option>> options_;  // in the order added
  struct SecretFile {
    std::string option;  // the secret's name
    std::string path;    // value of <name>-file
  };
  std::vector<std::unique_ptr<SecretFile>> secret_files_;
  std::vector<std::function<absl::Status()>> checks_;
  std::string config_path_;
};

// The parsers behind the types, for other places with the same notation. INVALID_ARGUMENT.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);
absl::StatusOr<int64_t> ParseBytes(std::string_view text);
std::string FormatDuration(std::chrono::milliseconds duration);

}  // namespace conclave::base
