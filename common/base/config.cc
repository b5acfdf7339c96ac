#include "base/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>

#include "base/json.h"
#include "base/utf8.h"

namespace conclave::base {
namespace {

constexpr size_t kFileBytesMax = size_t{1} << 20;
constexpr size_t kEntriesMax = 10'000;  // aliases can make a small file large
constexpr int kDepthMax = 16;

int LineOf(const YAML::Node& node) { return node.Mark().line + 1; }

absl::Status ErrorAtLine(int line, const std::string& what) {
  return InvalidArgument("line " + std::to_string(line) + ": " + what);
}

absl::Status ErrorAt(const YAML::Node& node, const std::string& what) {
  return ErrorAtLine(LineOf(node), what);
}

class Flattener final {
 public:
  absl::Status Mapping(const YAML::Node& node, const std::string& prefix, int depth) {
    if (depth > kDepthMax) return ErrorAt(node, prefix + ": nesting deeper than 16");
    for (const auto& member : node) {
      if (!member.first.IsScalar()) return ErrorAt(member.first, "expected a plain key");
      std::string key = member.first.Scalar();
      std::replace(key.begin(), key.end(), '_', '-');
      const std::string name = prefix.empty() ? key : prefix + "-" + key;
      if (member.second.IsMap()) {
        RETURN_IF_ERROR(Mapping(member.second, name, depth + 1));
      } else {
        RETURN_IF_ERROR(Leaf(member.second, name, LineOf(member.first)));
      }
    }
    return absl::OkStatus();
  }

  ConfigEntries Take() { return std::move(entries_); }

 private:
  absl::Status Leaf(const YAML::Node& node, const std::string& name, int line) {
    ConfigEntry entry;
    entry.line = line;
    if (node.IsScalar()) {
      entry.values = {node.Scalar()};
    } else if (node.IsSequence()) {
      entry.is_list = true;
      for (const auto& element : node) {
        if (!element.IsScalar())
          return ErrorAt(element, name + ": expected a list of plain values");
        entry.values.push_back(element.Scalar());
        if (entry.values.size() > kEntriesMax) return ErrorAt(node, name + ": list too long");
      }
    } else {
      return ErrorAtLine(line, name + ": has no value");
    }
    if (!entries_.try_emplace(name, std::move(entry)).second) {
      return ErrorAt(node, name + ": given twice");
    }
    if (entries_.size() > kEntriesMax) return ErrorAt(node, "too many settings");
    return absl::OkStatus();
  }

  ConfigEntries entries_;
};

// Plain scalars are typed, quoted ones are strings (yaml-cpp tags those "!").
absl::Status WriteScalar(const YAML::Node& node, JsonWriter& json) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return json.String(text), absl::OkStatus();
  if (text == "true" || text == "false") return json.Bool(text == "true"), absl::OkStatus();
  if (text == "null" || text == "~" || text.empty()) return json.Null(), absl::OkStatus();
  const bool digits = text.find_first_not_of("+-.0123456789eE") == std::string::npos;
  if (digits && JsonDocument::Parse(text).ok()) return json.Raw(text), absl::OkStatus();
  if (!IsValidUtf8(text)) return ErrorAt(node, "invalid UTF-8");
  json.String(text);
  return absl::OkStatus();
}

// `left` bounds the whole: aliases can make a small file large.
absl::Status WriteNode(const YAML::Node& node, int depth, size_t* left, JsonWriter& json) {
  if (depth > kDepthMax) return ErrorAt(node, "nesting deeper than 16");
  if ((*left)-- == 0) return ErrorAt(node, "too many settings");
  if (node.IsScalar()) return WriteScalar(node, json);
  if (node.IsSequence()) {
    json.BeginArray();
    for (const auto& element : node) RETURN_IF_ERROR(WriteNode(element, depth + 1, left, json));
    json.EndArray();
    return absl::OkStatus();
  }
  if (!node.IsMap()) return json.Null(), absl::OkStatus();
  std::set<std::string> keys;
  json.BeginObject();
  for (const auto& member : node) {
    if (!member.first.IsScalar()) return ErrorAt(member.first, "expected a plain key");
    const std::string& key = member.first.Scalar();
    if (!keys.insert(key).second) return ErrorAt(member.first, key + ": given twice");
    json.Key(key);
    RETURN_IF_ERROR(WriteNode(member.second, depth + 1, left, json));
  }
  json.EndObject();
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("cannot read " + path);
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace

absl::StatusOr<std::string> YamlToJson(const std::string& yaml) {
  if (yaml.size() > kFileBytesMax) return InvalidArgument("larger than 1 MiB");
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(yaml);
    if (documents.size() != 1 || !documents.front().IsMap()) {
      return InvalidArgument("expected one mapping");
    }
    JsonWriter json;
    size_t left = kEntriesMax;
    RETURN_IF_ERROR(WriteNode(documents.front(), 1, &left, json));
    return json.Take();
  } catch (const YAML::Exception& e) {
    return InvalidArgument("line " + std::to_string(e.mark.line + 1) + ": " + e.msg);
  }
}

absl::StatusOr<std::string> LoadYamlAsJson(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  absl::StatusOr<std::string> json = YamlToJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  return json;
}

absl::StatusOr<ConfigEntries> ParseConfig(const std::string& yaml) {
  if (yaml.size() > kFileBytesMax) return InvalidArgument("larger than 1 MiB");
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(yaml);
    if (documents.size() > 1) return InvalidArgument("more than one YAML document");
    if (documents.empty() || documents.front().IsNull()) return ConfigEntries();
    if (!documents.front().IsMap()) return InvalidArgument("expected a mapping of settings");
    Flattener flattener;
    RETURN_IF_ERROR(flattener.Mapping(documents.front(), "", 1));
    return flattener.Take();
  } catch (const YAML::Exception& e) {
    return InvalidArgument("line " + std::to_string(e.mark.line + 1) + ": " + e.msg);
  }
}

absl::StatusOr<ConfigEntries> LoadConfigFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  absl::StatusOr<ConfigEntries> entries = ParseConfig(text);
  if (!entries.ok()) return Annotate(entries.status(), path);
  return entries;
}

std::optional<int> HandleOptions(OptionSet& options, int argc, const char* const* argv) {
  const absl::StatusOr<OptionSet::Action> action = options.Parse(argc, argv, LoadConfigFile);
  if (!action.ok()) {
    std::fprintf(stderr, "%s: %s\n", options.program().c_str(),
                 std::string(action.status().message()).c_str());
    return 2;
  }
  switch (*action) {
    case OptionSet::Action::kRun:
      return std::nullopt;
    case OptionSet::Action::kHelp:
      std::fputs(options.Help().c_str(), stdout);
      return 0;
    case OptionSet::Action::kPrintConfig:
      std::fputs(options.EffectiveYaml().c_str(), stdout);
      return 0;
    case OptionSet::Action::kCheckConfig:
      std::puts("the configuration is valid");
      return 0;
  }
  return 2;
}

}  // namespace conclave::base
