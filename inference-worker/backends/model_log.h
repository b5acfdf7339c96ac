// What happened to one model, for whoever runs it: the newest entries in a ring bounded by count
// and bytes. Ids, counts, codes and a child's own stderr; never prompts or answers.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"

namespace conclave::backends {

// Thread-safe.
class ModelLog final {
 public:
  static constexpr size_t kEntriesMax = 1'000;
  static constexpr size_t kBytesMax = 256 * 1024;
  static constexpr size_t kMessageBytesMax = 4 * 1024;  // the rest is cut off

  struct Entry {
    int64_t unix_ms = 0;
    base::LogLevel level = base::LogLevel::kInfo;
    std::string message;                                      // valid UTF-8
    std::vector<std::pair<std::string, std::string>> fields;  // key → JSON text
  };

  explicit ModelLog(const base::Clock* clock = &base::Clock::System()) : clock_(clock) {}

  void Add(base::LogLevel level, std::string_view message,
           std::initializer_list<base::LogField> fields = {});
  // The newest `limit` (0 = all), oldest first.
  std::vector<Entry> Newest(size_t limit) const;
  // How many were dropped.
  int64_t Clear();

 private:
  static size_t BytesOf(const Entry& entry);

  const base::Clock* const clock_;
  mutable std::mutex mutex_;
  std::deque<Entry> entries_;
  size_t bytes_ = 0;
};

// "debug", "info", "warning", "error".
std::string_view LevelName(base::LogLevel level);

}  // namespace conclave::backends
