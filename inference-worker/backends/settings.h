// Reads the settings of a provider or of a registered model: each key once, in bounds, and what
// nobody asked for is refused by name, so that a misspelt key is not a silent default.
//
//   Settings settings(config.settings);
//   settings.Read("url", &url);
//   RETURN_IF_ERROR(settings.Finish());
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace conclave::backends {

// Keeps the first error; later reads do nothing then.
class Settings final {
 public:
  // An object, or absent or null: no settings.
  explicit Settings(base::JsonValue object);

  // Each leaves *place alone when the key is not given.
  void Read(std::string_view key, std::string* place);
  void Read(std::string_view key, bool* place);
  void Read(std::string_view key, int32_t* place, int32_t min, int32_t max);
  // "250ms", "5s" or milliseconds as a number.
  void Read(std::string_view key, std::chrono::milliseconds* place, std::chrono::milliseconds min,
            std::chrono::milliseconds max);
  // "64M" or a number of bytes.
  void ReadBytes(std::string_view key, int64_t* place, int64_t min, int64_t max);
  void Read(std::string_view key, std::vector<std::string>* place);
  void Read(std::string_view key, std::map<std::string, std::string>* place);
  // The value itself, for what has an inner shape.
  base::JsonValue Take(std::string_view key);
  void Refuse(std::string_view key, std::string_view what);

  absl::Status Finish();

 private:
  base::JsonValue Next(std::string_view key);
  void Keep(const absl::Status& status);

  const base::JsonValue object_;
  std::set<std::string, std::less<>> known_;
  absl::Status status_;
};

// A secret named by its place: `<key>_file` (first line) or `<key>_env`; never the value itself,
// which would end in rows and logs. Empty when neither is given.
absl::StatusOr<std::string> ReadSecret(Settings& settings, std::string_view key);

}  // namespace conclave::backends
