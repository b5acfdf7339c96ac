#include "worker/model_life.h"

#include <catch2/catch.hpp>

#include "base/status.h"
#include "support/held_clock.h"

namespace conclave::worker {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

}  // namespace

TEST_CASE("a model's time begins when its last user ends") {
  HeldClock clock;
  ModelLife life;
  life.Keep(minutes(5), clock);
  life.Begin(clock);
  life.Begin(clock);
  clock.Advance(minutes(6));
  CHECK_FALSE(life.IsOver(clock.Now()));
  life.End(clock);
  clock.Advance(minutes(6));
  CHECK_FALSE(life.IsOver(clock.Now()));
  life.End(clock);
  CHECK(life.expires_unix_ms == clock.UnixMillis() + 300'000);
  clock.Advance(minutes(5) - milliseconds(1));
  CHECK_FALSE(life.IsOver(clock.Now()));
  clock.Advance(milliseconds(1));
  CHECK(life.IsOver(clock.Now()));
}

TEST_CASE("keep-alives: none, negative, endless, and those of pinned models") {
  HeldClock clock;
  ModelLife life;
  life.Keep(milliseconds(0), clock);
  CHECK(life.IsOver(clock.Now()));
  life.Keep(milliseconds(-5), clock);
  CHECK(life.expires_at == base::SteadyTime::max());
  CHECK(life.expires_unix_ms == 0);
  life.Keep(milliseconds::max(), clock);
  CHECK(life.expires_at == base::SteadyTime::max());
  life.pinned = true;
  life.Keep(milliseconds(0), clock);
  CHECK_FALSE(life.IsOver(clock.Now()));
}

TEST_CASE("room is made by those used least recently, and by no more than it takes") {
  HeldClock clock;
  ModelLife a{.bytes = 30}, b{.bytes = 30}, c{.bytes = 30};
  for (ModelLife* life : {&b, &c, &a}) {
    life->Begin(clock);
    life->End(clock);
    clock.Advance(minutes(1));
  }
  const std::vector<Resident> all = {{&a, true}, {&b, true}, {&c, true}};
  CHECK(MakeRoom(all, 100, 10)->empty());
  CHECK(*MakeRoom(all, 100, 11) == std::vector<size_t>{1});
  CHECK(*MakeRoom(all, 100, 40) == std::vector<size_t>{1});
  CHECK(*MakeRoom(all, 100, 41) == std::vector<size_t>{1, 2});
  CHECK(*MakeRoom(all, 100, 100) == std::vector<size_t>{1, 2, 0});
}

TEST_CASE("nobody makes room who is in use, pinned or still loading") {
  HeldClock clock;
  ModelLife used{.bytes = 30}, pinned{.bytes = 30, .pinned = true}, loading{.bytes = 30};
  used.Begin(clock);
  const std::vector<Resident> all = {{&used, true}, {&pinned, true}, {&loading, false}};
  const absl::Status busy = MakeRoom(all, 100, 20).status();
  CHECK(absl::IsUnavailable(busy));
  CHECK(base::ReasonOf(busy) == "memory_in_use");
  CHECK(base::RetryAfterOf(busy).count() > 0);
  CHECK(busy.message() ==
        "the model needs 20 bytes; 10 of 100 are available while other models are in use");
  used.End(clock);
  CHECK(*MakeRoom(all, 100, 20) == std::vector<size_t>{0});
  const absl::Status large = MakeRoom(all, 100, 71).status();
  CHECK(absl::IsFailedPrecondition(large));
  CHECK(base::ReasonOf(large) == "model_too_large");
  CHECK(large.message() ==
        "the model needs 71 bytes; this worker has 100 for models, of which 30 are pinned");
}

}  // namespace conclave::worker
