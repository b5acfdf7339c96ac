#include "backends/settings.h"

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/options.h"

namespace conclave::backends {
namespace {

constexpr size_t kListMax = 1'000;
constexpr size_t kSecretBytesMax = 4'096;

// For ParseDuration and ParseBytes, which take text; numbers are milliseconds and bytes there.
absl::StatusOr<std::string> TextOf(base::JsonValue value) {
  if (value.is_integer()) {
    ASSIGN_OR_RETURN(const int64_t number, value.AsInt(0, int64_t{1} << 50));
    return std::to_string(number);
  }
  return value.AsString();
}

}  // namespace

Settings::Settings(base::JsonValue object) : object_(std::move(object)) {
  if (!object_.missing()) Keep(object_.ExpectObject());
}

void Settings::Keep(const absl::Status& status) {
  if (status_.ok()) status_ = status;
}

base::JsonValue Settings::Next(std::string_view key) {
  known_.emplace(key);
  return status_.ok() ? object_.Get(key) : base::JsonValue();
}

void Settings::Read(std::string_view key, std::string* place) {
  const auto value = Next(key).OptionalString();
  if (!value.ok()) return Keep(value.status());
  if (*value) *place = **value;
}

void Settings::Read(std::string_view key, bool* place) {
  const auto value = Next(key).OptionalBool();
  if (!value.ok()) return Keep(value.status());
  if (*value) *place = **value;
}

void Settings::Read(std::string_view key, int32_t* place, int32_t min, int32_t max) {
  const auto value = Next(key).OptionalInt(min, max);
  if (!value.ok()) return Keep(value.status());
  if (*value) *place = static_cast<int32_t>(**value);
}

void Settings::Read(std::string_view key, std::chrono::milliseconds* place,
                    std::chrono::milliseconds min, std::chrono::milliseconds max) {
  const base::JsonValue value = Next(key);
  if (value.missing()) return;
  const auto text = TextOf(value);
  if (!text.ok()) return Keep(text.status());
  const auto duration = base::ParseDuration(*text);
  if (!duration.ok()) return Keep(value.Error(std::string(duration.status().message())));
  if (*duration < min || *duration > max) {
    return Keep(value.Error(absl::StrCat("must be between ", base::FormatDuration(min), " and ",
                                         base::FormatDuration(max))));
  }
  *place = *duration;
}

void Settings::ReadBytes(std::string_view key, int64_t* place, int64_t min, int64_t max) {
  const base::JsonValue value = Next(key);
  if (value.missing()) return;
  const auto text = TextOf(value);
  if (!text.ok()) return Keep(text.status());
  const auto bytes = base::ParseBytes(*text);
  if (!bytes.ok()) return Keep(value.Error(std::string(bytes.status().message())));
  if (*bytes < min || *bytes > max) {
    return Keep(value.Error(absl::StrCat("must be between ", min, " and ", max, " bytes")));
  }
  *place = *bytes;
}

void Settings::Read(std::string_view key, std::vector<std::string>* place) {
  const base::JsonValue value = Next(key);
  if (value.missing()) return;
  if (const auto status = value.ExpectArray(); !status.ok()) return Keep(status);
  if (value.size() > kListMax) return Keep(value.Error("more than 1000 entries"));
  place->clear();
  for (size_t i = 0; i < value.size(); ++i) {
    auto text = value.At(i).AsString();
    if (!text.ok()) return Keep(text.status());
    place->push_back(*std::move(text));
  }
}

void Settings::Read(std::string_view key, std::map<std::string, std::string>* place) {
  const base::JsonValue value = Next(key);
  if (value.missing()) return;
  if (const auto status = value.ExpectObject(); !status.ok()) return Keep(status);
  if (value.size() > kListMax) return Keep(value.Error("more than 1000 entries"));
  value.ForEachMember([&](std::string_view name, base::JsonValue member) {
    auto text = member.AsString();
    if (!text.ok()) return Keep(text.status());
    (*place)[std::string(name)] = *std::move(text);
  });
}

base::JsonValue Settings::Take(std::string_view key) { return Next(key); }

void Settings::Refuse(std::string_view key, std::string_view what) {
  Keep(object_.Get(key).Error(what));
}

absl::Status Settings::Finish() {
  if (!status_.ok()) return status_;
  object_.ForEachMember([&](std::string_view key, base::JsonValue value) {
    if (known_.find(key) == known_.end()) Keep(value.Error("there is no such setting"));
  });
  return status_;
}

absl::StatusOr<std::string> ReadSecret(Settings& settings, std::string_view key) {
  const std::string file_key = std::string(key) + "_file";
  const std::string env_key = std::string(key) + "_env";
  std::string file;
  std::string env;
  settings.Read(file_key, &file);
  settings.Read(env_key, &env);
  if (!file.empty() && !env.empty()) {
    settings.Refuse(env_key, absl::StrCat("give this or ", file_key, ", not both"));
    return std::string();
  }
  std::string secret;
  if (!file.empty()) {
    std::ifstream in(file);
    if (!in || !std::getline(in, secret)) settings.Refuse(file_key, "cannot be read");
  } else if (!env.empty()) {
    const char* value = std::getenv(env.c_str());
    if (value == nullptr) {
      settings.Refuse(env_key, "there is no such environment variable");
    } else {
      secret = value;
    }
  }
  while (!secret.empty() && (secret.back() == '\r' || secret.back() == ' ')) secret.pop_back();
  const bool printable = secret.find_first_of("\r\n") == std::string::npos;
  if (secret.size() > kSecretBytesMax || !printable) {
    settings.Refuse(file.empty() ? env_key : file_key, "is no key: too long, or several lines");
    return std::string();
  }
  return secret;
}

}  // namespace conclave::backends
