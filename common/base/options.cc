#include "base/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/check.h"
#include "base/log.h"

namespace conclave::base {
namespace {

constexpr size_t kSecretFileBytesMax = size_t{1} << 20;

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool IsName(std::string_view name) {
  return !name.empty() && name.front() >= 'a' && name.front() <= 'z' && name.back() != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

std::string EnvironmentName(std::string_view name) {
  std::string variable = "CONCLAVE_";
  for (const char c : name) {
    variable += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  return variable;
}

std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = Trim(text.substr(0, comma));
    if (!part.empty()) parts.emplace_back(part);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return parts;
}

template <typename Number>
absl::StatusOr<Number> ParseNumber(std::string_view text, std::string_view what) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range) {
    return InvalidArgument("\"" + std::string(text) + "\" is out of range");
  }
  if (error != std::errc() || stop != end) {
    return InvalidArgument("expected " + std::string(what) + ", got \"" + std::string(text) + "\"");
  }
  return value;
}

template <typename Value>
absl::Status CheckRange(const Value& value, const Value& min, const Value& max,
                        const std::function<std::string(const Value&)>& format) {
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidArgument(format(value) + " is not within " + format(min) + " … " + format(max));
}

absl::StatusOr<std::string> One(const std::vector<std::string>& values) {
  if (values.size() != 1) return InvalidArgument("expected one value, got a list");
  return values.front();
}

std::string FormatDouble(const double& value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return error == std::errc() ? std::string(buffer, end) : "?";
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("cannot read " + path);
  std::string text(kSecretFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kSecretFileBytesMax) return InvalidArgument(path + " is larger than 1 MiB");
  return text;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const std::string_view trimmed = Trim(line);
    if (!trimmed.empty() && trimmed.front() != '#') lines.emplace_back(trimmed);
  }
  return lines;
}

}  // namespace

absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double millis;
  };
  constexpr Unit kUnits[] = {{"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
  std::string_view number = text;
  double scale = 1;
  const size_t letters = text.find_first_not_of("0123456789.");
  if (letters != std::string_view::npos) {
    const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                    [&](const Unit& u) { return u.name == text.substr(letters); });
    if (unit == std::end(kUnits)) {
      return InvalidArgument("expected a duration such as 250ms, 5s, 2m or 1h, got \"" +
                             std::string(text) + "\"");
    }
    scale = unit->millis;
    number = text.substr(0, letters);
  }
  ASSIGN_OR_RETURN(const double value, ParseNumber<double>(number, "a duration"));
  const double millis = value * scale;
  if (!std::isfinite(millis) || millis < 0 || millis > 1e15) {
    return InvalidArgument("\"" + std::string(text) + "\" is out of range");
  }
  return std::chrono::milliseconds(std::llround(millis));
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  const size_t letters = text.find_first_not_of("0123456789.");
  double scale = 1;
  if (letters != std::string_view::npos) {
    std::string_view unit = text.substr(letters);
    constexpr std::string_view kPowers = "KMGT";
    const size_t power = kPowers.find(unit.front());
    const std::string_view rest = unit.substr(1);
    if (power != std::string_view::npos && (rest.empty() || rest == "B" || rest == "iB")) {
      scale = std::exp2(10.0 * static_cast<double>(power + 1));
    } else if (unit != "B") {
      return InvalidArgument("expected a size such as 512, 64K, 32M or 1.5G, got \"" +
                             std::string(text) + "\"");
    }
  }
  ASSIGN_OR_RETURN(const double value, ParseNumber<double>(text.substr(0, letters), "a size"));
  const double bytes = value * scale;
  if (!std::isfinite(bytes) || bytes < 0 || bytes > 9e15) {
    return InvalidArgument("\"" + std::string(text) + "\" is out of range");
  }
  return static_cast<int64_t>(bytes);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const int64_t millis = duration.count();
  if (millis != 0 && millis % 3'600'000 == 0) return std::to_string(millis / 3'600'000) + "h";
  if (millis != 0 && millis % 60'000 == 0) return std::to_string(millis / 60'000) + "m";
  if (millis % 1'000 == 0) return std::to_string(millis / 1'000) + "s";
  return std::to_string(millis) + "ms";
}

OptionSet::OptionSet(std::string program, std::string summary)
    : program_(std::move(program)), summary_(std::move(summary)) {
  Add("config", &config_path_, "YAML file with any of the options below");
}

OptionSet::Option& OptionSet::Register(std::string_view name, std::string_view kind,
                                       std::string_view help) {
  CHECK(IsName(name));
  CHECK(Find(name) == nullptr);
  options_.push_back(std::make_unique<Option>());
  Option& option = *options_.back();
  option.name = name;
  option.kind = kind;
  option.help = help;
  return option;
}

OptionSet::Option* OptionSet::Find(std::string_view name) {
  for (const std::unique_ptr<Option>& option : options_) {
    if (option->name == name) return option.get();
  }
  return nullptr;
}

void OptionSet::Add(std::string_view name, std::string* place, std::string_view help) {
  Option& option = Register(name, "text", help);
  option.set = [place](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(*place, One(values));
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{*place}; };
  option.default_text = *place;
}

void OptionSet::Add(std::string_view name, bool* place, std::string_view help) {
  Option& option = Register(name, "bool", help);
  option.is_bool = true;
  option.set = [place](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, One(values));
    if (text == "true" || text == "1" || text == "yes" || text == "on") {
      *place = true;
    } else if (text == "false" || text == "0" || text == "no" || text == "off") {
      *place = false;
    } else {
      return InvalidArgument("expected true or false, got \"" + text + "\"");
    }
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{*place ? "true" : "false"}; };
  option.default_text = *place ? "true" : "false";
}

void OptionSet::Add(std::string_view name, int64_t* place, std::string_view help, int64_t min,
                    int64_t max) {
  Option& option = Register(name, "integer", help);
  option.set = [=](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, One(values));
    ASSIGN_OR_RETURN(const int64_t value, ParseNumber<int64_t>(text, "an integer"));
    RETURN_IF_ERROR(
        CheckRange<int64_t>(value, min, max, [](const int64_t& v) { return std::to_string(v); }));
    *place = value;
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{std::to_string(*place)}; };
  option.default_text = std::to_string(*place);
}

void OptionSet::Add(std::string_view name, int* place, std::string_view help, int min, int max) {
  Option& option = Register(name, "integer", help);
  option.set = [=](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, One(values));
    ASSIGN_OR_RETURN(const int value, ParseNumber<int>(text, "an integer"));
    RETURN_IF_ERROR(
        CheckRange<int>(value, min, max, [](const int& v) { return std::to_string(v); }));
    *place = value;
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{std::to_string(*place)}; };
  option.default_text = std::to_string(*place);
}

void OptionSet::Add(std::string_view name, double* place, std::string_view help, double min,
                    double max) {
  Option& option = Register(name, "number", help);
  option.set = [=](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, One(values));
    ASSIGN_OR_RETURN(const double value, ParseNumber<double>(text, "a number"));
    RETURN_IF_ERROR(CheckRange<double>(value, min, max, FormatDouble));
    *place = value;
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{FormatDouble(*place)}; };
  option.default_text = FormatDouble(*place);
}

void OptionSet::Add(std::string_view name, std::chrono::milliseconds* place, std::string_view help,
                    std::chrono::milliseconds min, std::chrono::milliseconds max) {
  Option& option = Register(name, "duration", help);
  option.set = [=](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, One(values));
    ASSIGN_OR_RETURN(const std::chrono::milliseconds value, ParseDuration(text));
    RETURN_IF_ERROR(CheckRange<std::chrono::milliseconds>(value, min, max, FormatDuration));
    *place = value;
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{FormatDuration(*place)}; };
  option.default_text = FormatDuration(*place);
}

void OptionSet::Add(std::string_view name, std::vector<std::string>* place, std::string_view help) {
  Option& option = Register(name, "list", help);
  option.is_list = true;
  option.set = [place](const std::vector<std::string>& values) -> absl::Status {
    *place = values;
    return absl::OkStatus();
  };
  option.get = [place] { return *place; };
  for (const std::string& value : *place) {
    option.default_text += (option.default_text.empty() ? "" : ",") + value;
  }
}

void OptionSet::AddBytes(std::string_view name, int64_t* place, std::string_view help, int64_t min,
                         int64_t max) {
  Option& option = Register(name, "bytes", help);
  option.set = [=](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, One(values));
    ASSIGN_OR_RETURN(const int64_t value, ParseBytes(text));
    RETURN_IF_ERROR(
        CheckRange<int64_t>(value, min, max, [](const int64_t& v) { return std::to_string(v); }));
    *place = value;
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{std::to_string(*place)}; };
  option.default_text = std::to_string(*place);
}

void OptionSet::AddChoice(std::string_view name, std::string* place,
                          std::vector<std::string> choices, std::string_view help) {
  std::string kind;
  for (const std::string& choice : choices) kind += (kind.empty() ? "" : "|") + choice;
  Option& option = Register(name, kind, help);
  option.set = [=](const std::vector<std::string>& values) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string text, One(values));
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
      return InvalidArgument("expected one of " + kind + ", got \"" + text + "\"");
    }
    *place = text;
    return absl::OkStatus();
  };
  option.get = [place] { return std::vector<std::string>{*place}; };
  option.default_text = *place;
}

void OptionSet::AddSecret(std::string_view name, std::string* place, std::string_view help) {
  Add(name, place, help);
  AddSecretFile(name, help);
}

void OptionSet::AddSecretList(std::string_view name, std::vector<std::string>* place,
                              std::string_view help) {
  Add(name, place, help);
  AddSecretFile(name, help);
}

void OptionSet::AddSecretFile(std::string_view name, std::string_view help) {
  Option* secret = Find(name);
  secret->secret = true;
  secret->default_text.clear();
  secret_files_.push_back(std::make_unique<SecretFile>());
  SecretFile& file = *secret_files_.back();
  file.option = name;
  Add(std::string(name) + "-file", &file.path, std::string(help) + " (read from this file)");
}

void OptionSet::AddCheck(std::function<absl::Status()> check) {
  checks_.push_back(std::move(check));
}

absl::Status OptionSet::Assign(Option& option, Source source,
                               const std::vector<std::string>& values) {
  absl::Status status = option.set(values);
  if (!status.ok()) {
    // What was given for a secret must not come back in a message.
    return option.secret ? InvalidArgument("not a valid value") : status;
  }
  option.source = source;
  return absl::OkStatus();
}

absl::Status OptionSet::ApplyFile(const ConfigLoader& loader, const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  if (!loader) return InvalidArgument("--config: " + program_ + " takes no configuration file");
  ASSIGN_OR_RETURN(const ConfigEntries entries, loader(path));
  for (const auto& [name, entry] : entries) {
    const std::string place = path + ":" + std::to_string(entry.line) + ": " + name;
    Option* option = Find(name);
    if (option == nullptr || name == "config") {
      return InvalidArgument(place + ": no such option of " + program_);
    }
    const bool split = option->is_list && !entry.is_list;
    RETURN_IF_ERROR(Annotate(
        Assign(*option, Source::kFile, split ? SplitAtCommas(entry.values.front()) : entry.values),
        place));
  }
  return absl::OkStatus();
}

absl::Status OptionSet::ApplyEnvironment() {
  for (const std::unique_ptr<Option>& option : options_) {
    const std::string variable = EnvironmentName(option->name);
    const char* text = std::getenv(variable.c_str());
    if (text == nullptr) continue;
    RETURN_IF_ERROR(
        Annotate(Assign(*option, Source::kEnvironment,
                        option->is_list ? SplitAtCommas(text) : std::vector<std::string>{text}),
                 variable));
  }
  return absl::OkStatus();
}

absl::StatusOr<OptionSet::CommandLine> OptionSet::ReadCommandLine(
    int argc, const char* const* argv, std::vector<std::string>* positional) {
  CommandLine line;
  bool options_ended = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (options_ended || !word.starts_with("-") || word == "-") {
      if (positional == nullptr) {
        return InvalidArgument("unexpected argument \"" + std::string(word) + "\"");
      }
      positional->emplace_back(word);
      continue;
    }
    if (word == "--") {
      options_ended = true;
    } else if (word == "--help" || word == "-h") {
      line.action = Action::kHelp;
    } else if (word == "--print-config") {
      line.action = Action::kPrintConfig;
    } else if (word == "--check-config") {
      line.action = Action::kCheckConfig;
    } else {
      RETURN_IF_ERROR(ReadFlag(argc, argv, &i, &line));
    }
  }
  return line;
}

absl::Status OptionSet::ReadFlag(int argc, const char* const* argv, int* i, CommandLine* line) {
  const std::string_view word = argv[*i];
  const size_t equals = word.find('=');
  const std::string flag(word.substr(0, equals));
  if (!flag.starts_with("--")) return InvalidArgument(flag + ": no such flag (see --help)");
  const std::string name = flag.substr(2);
  Option* option = Find(name);
  std::string text;
  if (option == nullptr && name.starts_with("no-") && equals == std::string_view::npos) {
    option = Find(name.substr(3));
    if (option != nullptr && !option->is_bool) option = nullptr;
    text = "false";
  } else if (equals != std::string_view::npos) {
    text = word.substr(equals + 1);
  } else if (option != nullptr && option->is_bool) {
    text = "true";
  } else if (option != nullptr) {
    if (*i + 1 >= argc) return InvalidArgument(flag + ": expected a value");
    text = argv[++*i];
  }
  if (option == nullptr) return InvalidArgument(flag + ": no such flag (see --help)");

  std::vector<std::string>& values = line->values[option];
  if (!option->is_list) {
    values = {text};  // the last one wins, so that scripts can append
  } else {
    for (std::string& part : SplitAtCommas(text)) values.push_back(std::move(part));
  }
  return absl::OkStatus();
}

absl::Status OptionSet::ReadSecretFiles() {
  for (const std::unique_ptr<SecretFile>& file : secret_files_) {
    if (file->path.empty()) continue;
    Option* option = Find(file->option);
    if (option->source != Source::kDefault) {
      return InvalidArgument(option->name + " and " + option->name + "-file: give only one");
    }
    ASSIGN_OR_RETURN(std::string text, ReadSmallFile(file->path));
    std::vector<std::string> values;
    if (option->is_list) {
      values = Lines(text);
    } else {
      while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
      values = {std::move(text)};
    }
    RETURN_IF_ERROR(Annotate(Assign(*option, Source::kFile, values), option->name + "-file"));
  }
  return absl::OkStatus();
}

absl::StatusOr<OptionSet::Action> OptionSet::Parse(int argc, const char* const* argv,
                                                   const ConfigLoader& loader,
                                                   std::vector<std::string>* positional) {
  ASSIGN_OR_RETURN(const CommandLine line, ReadCommandLine(argc, argv, positional));
  if (line.action == Action::kHelp) return line.action;

  std::string path;
  if (const char* text = std::getenv("CONCLAVE_CONFIG")) path = text;
  if (const auto it = line.values.find(Find("config")); it != line.values.end()) {
    path = it->second.front();
  }
  RETURN_IF_ERROR(ApplyFile(loader, path));
  RETURN_IF_ERROR(ApplyEnvironment());
  for (const auto& [option, values] : line.values) {
    RETURN_IF_ERROR(Annotate(Assign(*option, Source::kFlag, values), "--" + option->name));
  }
  RETURN_IF_ERROR(ReadSecretFiles());
  for (const std::function<absl::Status()>& check : checks_) RETURN_IF_ERROR(check());
  return line.action;
}

std::string OptionSet::Help() const {
  std::string text = program_ + ": " + summary_ + "\n\n";
  for (const std::unique_ptr<Option>& option : options_) {
    text += "  --" + option->name + (option->is_bool ? "" : " <" + option->kind + ">") +
            "\n      " + option->help;
    if (!option->default_text.empty()) text += " [default: " + option->default_text + "]";
    text += "\n";
  }
  text +=
      "  --print-config\n      print the settings in force as YAML and exit\n"
      "  --check-config\n      check the settings and exit\n"
      "  --help\n      print this and exit\n\n"
      "Each option can also be set in the environment (CONCLAVE_LISTEN for --listen) and in the\n"
      "file given by --config; the command line wins, then the environment, then the file.\n";
  return text;
}

std::string OptionSet::EffectiveYaml() const {
  constexpr std::string_view kSources[] = {"default", "file", "environment", "command line"};
  std::string text = "# " + program_ + "\n";
  for (const std::unique_ptr<Option>& option : options_) {
    if (option->name == "config") continue;
    const std::string source(kSources[static_cast<int>(option->source)]);
    if (option->secret) {
      const bool set = option->source != Source::kDefault;
      text +=
          "# " + option->name + ": " + (set ? "<redacted>  (" + source + ")" : "not set") + "\n";
      continue;
    }
    text += option->name + ": ";
    const std::vector<std::string> values = option->get();
    if (option->is_list) {
      text += "[";
      for (size_t i = 0; i < values.size(); ++i) text += (i ? ", " : "") + JsonQuote(values[i]);
      text += "]";
    } else {
      const bool plain = option->kind == "integer" || option->kind == "number" ||
                         option->kind == "bytes" || option->is_bool;
      text += plain ? values.front() : JsonQuote(values.front());
    }
    text += "  # " + source + "\n";
  }
  return text;
}

}  // namespace conclave::base
