// When experts are counted, moved, and left alone; over a mover that copies nothing.
#include "engine/run/expert_balancer.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <utility>
#include <vector>

namespace conclave::engine {
namespace {

// One layer of eight experts, the first two on the device; each takes 100 bytes.
class FakeMover final : public ExpertMover {
 public:
  void Share(SharedExperts) override {}
  absl::Status Reserve(int64_t) override { return absl::OkStatus(); }
  std::vector<std::vector<int32_t>> DeviceExperts() const override { return {device}; }
  int64_t ExpertBytes(int32_t) const override { return 100; }
  absl::StatusOr<ExpertCounts> TakeCounts() override {
    if (!failure.ok()) return failure;
    return ExpertCounts{std::exchange(chosen, std::vector<int64_t>(8))};
  }
  bool ready() const override { return under_way.empty(); }
  bool idle() const override { return under_way.empty(); }
  absl::StatusOr<int64_t> Start(std::span<const ExpertExchange> exchanges) override {
    ++starts;
    if (refuses) return absl::AbortedError("no");
    under_way.assign(exchanges.begin(), exchanges.begin() + 1);  // there is room for one
    return 1;
  }
  absl::StatusOr<int64_t> Finish() override {
    if (!arrives) return 0;
    for (const ExpertExchange& e : under_way) {
      *std::find(device.begin(), device.end(), e.out) = e.in;
    }
    return static_cast<int64_t>(std::exchange(under_way, {}).size());
  }

  std::vector<int32_t> device = {0, 1};
  std::vector<int64_t> chosen = std::vector<int64_t>(8);
  std::vector<ExpertExchange> under_way;
  absl::Status failure;
  bool refuses = false;
  bool arrives = true;
  int starts = 0;
};

// Steps of 64 rows that choose two experts a thousand times.
void Choose(FakeMover& mover, ExpertBalancer& balancer, size_t a, size_t b, int steps) {
  for (int i = 0; i < steps; ++i) {
    mover.chosen[a] += 1000;
    mover.chosen[b] += 1000;
    REQUIRE(balancer.AfterStep(64).ok());
  }
}

}  // namespace

TEST_CASE("the experts that are chosen come to the device, one after another") {
  FakeMover mover;
  ExpertBalancer balancer(&mover, {.moves = true, .half_life = 4096});
  Choose(mover, balancer, 5, 6, 1);
  CHECK(balancer.stats().device_share == 0);
  CHECK(mover.device == std::vector<int32_t>{0, 1});  // on its way
  CHECK(balancer.stats().bytes_moved_total == 200);
  Choose(mover, balancer, 5, 6, 1);
  CHECK(balancer.stats().device_share == Approx(0.5));
  Choose(mover, balancer, 5, 6, 1);
  CHECK(balancer.stats().exchanges_total == 2);
  CHECK(balancer.stats().device_share == Approx(1));
  CHECK(balancer.table().hotness[0][5] > balancer.table().hotness[0][0]);
  const int64_t moved = balancer.stats().bytes_moved_total;
  Choose(mover, balancer, 5, 6, 10);
  CHECK(balancer.stats().bytes_moved_total == moved);
  // A step chose before what arrives after it was there: 2000 from the old placement, 1000 with
  // one of both, then all.
  CHECK(balancer.stats().selections_total == 2000 * 13);
  CHECK(balancer.stats().device_selections_total == 2000 * 13 - 2000 - 2000 - 1000);
  const int64_t version = balancer.version();
  Choose(mover, balancer, 2, 3, 80);
  CHECK(balancer.version() > version);
  CHECK(balancer.stats().device_share > 0.5);
  CHECK(std::find(mover.device.begin(), mover.device.end(), 2) != mover.device.end());
}

TEST_CASE("a static placement is counted and stays") {
  FakeMover mover;
  ExpertBalancer balancer(&mover, {.moves = false});
  Choose(mover, balancer, 1, 6, 20);
  CHECK(mover.starts == 0);
  CHECK_FALSE(balancer.stats().moves);
  CHECK(balancer.stats().device_share == Approx(0.5));
  CHECK(balancer.stats().selections_total == 40'000);
}

TEST_CASE("counts wait for enough tokens") {
  FakeMover mover;
  ExpertBalancer balancer(&mover, {.moves = true, .half_life = 6400});
  mover.chosen[5] = 1000;
  for (int i = 0; i < 99; ++i) REQUIRE(balancer.AfterStep(1).ok());
  CHECK(balancer.stats().selections_total == 0);
  REQUIRE(balancer.AfterStep(1).ok());
  CHECK(balancer.stats().selections_total == 1000);
}

TEST_CASE("a driver that refuses is asked more and more rarely, and experts stay") {
  FakeMover mover;
  mover.refuses = true;
  ExpertBalancer balancer(&mover, {.moves = true, .half_life = 4096});
  Choose(mover, balancer, 5, 6, 64);
  CHECK(mover.starts <= 7);
  CHECK(mover.starts >= 5);
  CHECK(balancer.stats().refused_total == mover.starts);
  CHECK(balancer.stats().exchanges_total == 0);
  CHECK(balancer.stats().bytes_moved_total == 0);
  CHECK(mover.device == std::vector<int32_t>{0, 1});
  mover.refuses = false;
  Choose(mover, balancer, 5, 6, 200);
  CHECK(balancer.stats().exchanges_total == 2);
}

TEST_CASE("what has not arrived is waited for without new plans") {
  FakeMover mover;
  mover.arrives = false;
  ExpertBalancer balancer(&mover, {.moves = true, .half_life = 4096});
  Choose(mover, balancer, 5, 6, 20);
  CHECK(mover.starts == 1);
  CHECK(balancer.stats().exchanges_total == 0);
}

TEST_CASE("a device that has failed is told, and without a mover there is nothing to do") {
  FakeMover mover;
  mover.failure = base::Unavailable("gone");
  ExpertBalancer balancer(&mover, {.moves = true});
  CHECK(balancer.AfterStep(4096).code() == absl::StatusCode::kUnavailable);
  ExpertBalancer none(nullptr, {.moves = true});
  CHECK(none.AfterStep(4096).ok());
  CHECK_FALSE(none.stats().moves);
  CHECK(none.table().device.empty());
}

}  // namespace conclave::engine
