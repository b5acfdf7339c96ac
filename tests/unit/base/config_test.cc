#include "base/config.h"

#include <catch2/catch.hpp>

namespace conclave::base {
namespace {

std::string Error(const std::string& yaml) {
  const auto entries = ParseConfig(yaml);
  return entries.ok() ? "" : std::string(entries.status().message());
}

}  // namespace

TEST_CASE("nested keys join with dashes and underscores count as dashes") {
  const auto entries = ParseConfig(
      "listen: 127.0.0.1:8080\n"
      "tls:\n"
      "  cert_file: a.pem\n"
      "  client:\n"
      "    ca-file: b.pem\n"
      "workers: [a:1, b:2]\n");
  REQUIRE(entries.ok());
  CHECK(entries->size() == 4);
  CHECK(entries->at("listen").values.front() == "127.0.0.1:8080");
  CHECK(entries->at("tls-cert-file").values.front() == "a.pem");
  CHECK(entries->at("tls-client-ca-file").values.front() == "b.pem");
  CHECK(entries->at("tls-client-ca-file").line == 5);
  CHECK(entries->at("workers").is_list);
  CHECK(entries->at("workers").values == std::vector<std::string>{"a:1", "b:2"});
}

TEST_CASE("an empty file has no settings") {
  CHECK(ParseConfig("")->empty());
  CHECK(ParseConfig("# nothing yet\n")->empty());
}

TEST_CASE("what is not a mapping of plain values is refused with its line") {
  CHECK(Error("- a\n- b\n") == "expected a mapping of settings");
  CHECK(Error("a: 1\nb:\n") == "line 2: b: has no value");
  CHECK(Error("a:\n  - {b: 1}\n") == "line 2: a: expected a list of plain values");
  CHECK(Error("tls: {a_b: 1}\ntls-a-b: 2\n") == "line 2: tls-a-b: given twice");
  CHECK(Error("a: [1, 2\n") != "");
  CHECK(Error("a: 1\n---\nb: 2\n") == "more than one YAML document");
  CHECK(Error("? [a, b]\n: c\n") == "line 1: expected a plain key");
}

TEST_CASE("a file that is deep, large or multiplied by aliases is refused") {
  std::string deep;
  for (int i = 0; i < 20; ++i) deep += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  CHECK(Error(deep + std::string(20, ' ') + "a: 1\n") != "");
  CHECK(Error(std::string((1 << 20) + 1, ' ')) == "larger than 1 MiB");
  std::string bomb = "a0: &a0 {x: 1, y: 1}\n";
  for (int i = 1; i < 15; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {x: " + before +
            ", y: " + before + "}\n";
  }
  CHECK(Error(bomb).find("too many settings") != std::string::npos);
}

TEST_CASE("a missing file is named") {
  const auto entries = LoadConfigFile("/nonexistent/conclave.yaml");
  CHECK(entries.status().code() == absl::StatusCode::kNotFound);
  CHECK(entries.status().message() == "cannot read /nonexistent/conclave.yaml");
}

}  // namespace conclave::base
