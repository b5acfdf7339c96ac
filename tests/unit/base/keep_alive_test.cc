#include "base/keep_alive.h"

#include <catch2/catch.hpp>

namespace conclave::base {

TEST_CASE("a keep-alive is a time or for ever") {
  CHECK(*ParseKeepAlive("forever") == kForever);
  CHECK(*ParseKeepAlive("-1") == kForever);
  CHECK(*ParseKeepAlive("5m") == std::chrono::minutes(5));
  CHECK(*ParseKeepAlive("0") == std::chrono::milliseconds(0));
  CHECK(absl::IsInvalidArgument(ParseKeepAlive("a while").status()));
  CHECK(KeepAliveOfMillis(-7) == kForever);
  CHECK(KeepAliveOfMillis(0) == std::chrono::milliseconds(0));
}

}  // namespace conclave::base
