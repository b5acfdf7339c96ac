#include "worker/drain_rate.h"

#include <catch2/catch.hpp>

namespace conclave::worker {
namespace {

class HeldClock final : public base::Clock {
 public:
  base::SteadyTime Now() const override { return now; }
  int64_t UnixMillis() const override { return 0; }
  base::SteadyTime now;
};

}  // namespace

TEST_CASE("the hint is the queue divided by the rate, within bounds") {
  HeldClock clock;
  DrainRate rate(clock);
  CHECK(rate.RetryAfter(100) == std::chrono::seconds(5));
  for (int i = 0; i < 11; ++i) {
    rate.Finished();
    clock.now += std::chrono::seconds(1);
  }
  // 11 ends in 11 seconds: one a second.
  CHECK(rate.RetryAfter(10) == std::chrono::seconds(10));
  CHECK(rate.RetryAfter(0) == std::chrono::seconds(1));
  CHECK(rate.RetryAfter(100'000) == std::chrono::seconds(60));
  clock.now += std::chrono::minutes(2);
  CHECK(rate.RetryAfter(10) == std::chrono::seconds(5));
}

}  // namespace conclave::worker
