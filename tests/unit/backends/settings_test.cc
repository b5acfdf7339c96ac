#include "backends/settings.h"

#include <catch2/catch.hpp>
#include <cstdlib>

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;

struct Read {
  absl::Status status;
  std::string text = "default";
  int32_t number = 7;
  milliseconds time{5};
  int64_t bytes = 1;
  std::string key;
};

Read ReadAll(const std::string& json) {
  Read read;
  const auto document = base::JsonDocument::Parse(json);
  REQUIRE(document.ok());
  Settings settings(document->root().Get("config"));
  settings.Read("text", &read.text);
  settings.Read("number", &read.number, 1, 9);
  settings.Read("time", &read.time, milliseconds(1), milliseconds(60'000));
  settings.ReadBytes("bytes", &read.bytes, 0, 1 << 20);
  const auto key = ReadSecret(settings, "key");
  if (key.ok()) read.key = *key;
  read.status = settings.Finish();
  return read;
}

}  // namespace

TEST_CASE("settings are read in their notations, and what is absent stays") {
  const Read none = ReadAll("{}");
  CHECK(none.status.ok());
  CHECK(none.text == "default");
  const Read all = ReadAll(R"({"config":{"text":"t","number":3,"time":"2s","bytes":"4K"}})");
  REQUIRE(all.status.ok());
  CHECK(all.time == milliseconds(2'000));
  CHECK(all.bytes == 4'096);
  CHECK(ReadAll(R"({"config":{"time":250}})").time == milliseconds(250));
}

TEST_CASE("every refusal names the key") {
  const auto message = [](const std::string& config) {
    return std::string(ReadAll("{\"config\":" + config + "}").status.message());
  };
  CHECK(message("[]").find("config: ") == 0);
  CHECK(message(R"({"txet":"t"})") == "config.txet: there is no such setting");
  CHECK(message(R"({"number":10})").find("config.number: ") == 0);
  CHECK(message(R"({"time":"2 hours"})").find("config.time: ") == 0);
  CHECK(message(R"({"time":"2h"})") == "config.time: must be between 1ms and 1m");
  CHECK(message(R"({"bytes":"2M"})").find("config.bytes: ") == 0);
  CHECK(message(R"({"key_file":"/nowhere"})") == "config.key_file: cannot be read");
  CHECK(message(R"({"key_env":"CONCLAVE_TEST_NO_SUCH"})").find("config.key_env: ") == 0);
  CHECK(message(R"({"key_env":"A","key_file":"b"})").find("not both") != std::string::npos);
  CHECK(message(R"({"key":"secret"})") == "config.key: there is no such setting");
}

TEST_CASE("a secret comes from the environment") {
  setenv("CONCLAVE_TEST_KEY", "k1", 1);
  CHECK(ReadAll(R"({"config":{"key_env":"CONCLAVE_TEST_KEY"}})").key == "k1");
  setenv("CONCLAVE_TEST_KEY", "k1\nInjected: header", 1);
  CHECK(!ReadAll(R"({"config":{"key_env":"CONCLAVE_TEST_KEY"}})").status.ok());
}

}  // namespace conclave::backends
