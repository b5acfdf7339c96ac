// One JSON line per event on stderr:
//   {"ts":"2026-11-22T20:31:07.412Z","level":"info","msg":"model
//   loaded","model":"teacher","ms":812}
//
//   LogInfo("model loaded", {{"model", name}, {"ms", load_ms}});
//
// Fields are for identifiers, counts, durations and codes. Secrets, prompts and generated text
// never go to the log. Thread-safe: a line is written by one write(2).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace conclave::base {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

class LogField final {
 public:
  LogField(std::string_view key, std::string_view value);
  LogField(std::string_view key, const std::string& value)
      : LogField(key, std::string_view(value)) {}
  LogField(std::string_view key, const char* value) : LogField(key, std::string_view(value)) {}
  LogField(std::string_view key, bool value);
  LogField(std::string_view key, double value);
  template <typename Int>
    requires(std::is_integral_v<Int> && !std::is_same_v<Int, bool>)
  LogField(std::string_view key, Int value) : key_(key), json_(std::to_string(value)) {}

  std::string_view key() const { return key_; }
  std::string_view json() const { return json_; }

 private:
  std::string_view key_;
  std::string json_;  // the value, already JSON
};

// Lines below this level are dropped. Default kInfo.
void SetLogLevel(LogLevel level);
// "debug", "info", "warning", "error"; false when the name is none of these.
bool ParseLogLevel(std::string_view name, LogLevel* level);

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

inline void LogDebug(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kDebug, m, f);
}
inline void LogInfo(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kInfo, m, f);
}
inline void LogWarning(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kWarning, m, f);
}
inline void LogError(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kError, m, f);
}

// `text` as a JSON string literal with its quotes; invalid UTF-8 becomes U+FFFD.
std::string JsonQuote(std::string_view text);

}  // namespace conclave::base
