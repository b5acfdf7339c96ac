#include "backends/model_log.h"

#include <catch2/catch.hpp>

namespace conclave::backends {

TEST_CASE("the log keeps the newest entries, bounded by count and by bytes") {
  ModelLog log;
  for (int i = 0; i < 1'200; ++i) log.Add(base::LogLevel::kInfo, "m" + std::to_string(i));
  CHECK(log.Newest(0).size() == ModelLog::kEntriesMax);
  CHECK(log.Newest(0).front().message == "m200");
  CHECK(log.Newest(2).front().message == "m1198");
  const std::string long_line(100'000, 'x');
  for (int i = 0; i < 200; ++i) log.Add(base::LogLevel::kWarning, long_line);
  const auto entries = log.Newest(0);
  CHECK(entries.size() < 70);
  CHECK(entries.back().message.size() == ModelLog::kMessageBytesMax);
  CHECK(log.Clear() == static_cast<int64_t>(entries.size()));
  CHECK(log.Newest(0).empty());
}

TEST_CASE("fields are JSON, and what is not UTF-8 is made readable") {
  ModelLog log;
  log.Add(base::LogLevel::kError, "a\xff z", {{"n", 3}, {"s", "q\""}});
  const auto entry = log.Newest(1).front();
  CHECK(entry.message == "a? z");
  CHECK(entry.fields[0].second == "3");
  CHECK(entry.fields[1].second == "\"q\\\"\"");
  CHECK(LevelName(entry.level) == "error");
}

}  // namespace conclave::backends
