#include "mesh/target.h"

#include <catch2/catch.hpp>

namespace conclave::mesh {

TEST_CASE("host and port are taken apart") {
  const auto v4 = ParseTarget("10.1.2.3:50051");
  REQUIRE(v4.ok());
  CHECK(v4->literal);
  CHECK(v4->address() == "10.1.2.3:50051");
  const auto v6 = ParseTarget("[::1]:80");
  REQUIRE(v6.ok());
  CHECK(v6->literal);
  CHECK(v6->host == "::1");
  CHECK(v6->address() == "[::1]:80");
  const auto name = ParseTarget("inference-worker.conclave.svc:50051");
  REQUIRE(name.ok());
  CHECK_FALSE(name->literal);
}

TEST_CASE("localhost is one address, not two") {
  const auto target = ParseTarget("localhost:1");
  REQUIRE(target.ok());
  CHECK(target->literal);
  CHECK(*Resolve(*target) == std::vector<std::string>{"127.0.0.1:1"});
}

TEST_CASE("what is no target is refused") {
  for (const char* text : {"", "host", ":1", "host:", "host:0", "host:65536", "host:1x", "::1:80",
                           "[::1]", "[]:1", "[::1:80"}) {
    INFO(text);
    CHECK(ParseTarget(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("an unknown name is unavailable") {
  const auto target = ParseTarget("no-such-host.invalid:1");
  REQUIRE(target.ok());
  CHECK(Resolve(*target).status().code() == absl::StatusCode::kUnavailable);
}

}  // namespace conclave::mesh
