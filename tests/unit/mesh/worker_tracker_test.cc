#include "mesh/worker_tracker.h"

#include <catch2/catch.hpp>

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

// A tracker under a clock that the test turns.
struct Fixture {
  base::SteadyTime now{std::chrono::hours(1)};
  WorkerTracker tracker{"10.0.0.1:1", nullptr, WorkerTimes{}};

  void Hear(uint64_t epoch = 7) {
    pb::WorkerState state;
    state.set_worker_id("w");
    state.set_epoch(epoch);
    state.set_serving(true);
    tracker.OnState(state, now);
  }
  bool Pass(milliseconds time) {
    now += time;
    return tracker.Tick(now);
  }
  WorkerHealth health() const { return tracker.info()->health; }
  milliseconds until_reconnect() const {
    return std::chrono::duration_cast<milliseconds>(tracker.reconnect_at() - now);
  }
};

}  // namespace

TEST_CASE("a worker is fresh from its first message on") {
  Fixture f;
  f.tracker.OnConnect(f.now);
  CHECK(f.health() == WorkerHealth::kConnecting);
  CHECK_FALSE(f.Pass(milliseconds(4'000)));
  f.Hear();
  CHECK(f.health() == WorkerHealth::kFresh);
  CHECK(f.tracker.info()->usable());
  CHECK(f.tracker.info()->worker_id == "w");
}

TEST_CASE("silence makes a worker suspect after 1.5 s and dead after 5 s") {
  Fixture f;
  f.tracker.OnConnect(f.now);
  f.Hear();
  CHECK_FALSE(f.Pass(milliseconds(1'499)));
  CHECK(f.Pass(milliseconds(1)));
  CHECK(f.health() == WorkerHealth::kSuspect);
  CHECK_FALSE(f.tracker.info()->usable());
  CHECK_FALSE(f.Pass(milliseconds(3'499)));
  CHECK_FALSE(f.tracker.stuck(f.now));
  CHECK(f.Pass(milliseconds(1)));
  CHECK(f.health() == WorkerHealth::kDead);
  CHECK(f.tracker.stuck(f.now));
  f.Hear();
  CHECK(f.health() == WorkerHealth::kFresh);
}

TEST_CASE("a broken stream is suspect at once, and dead when the worker cannot be reached again") {
  Fixture f;
  f.tracker.OnConnect(f.now);
  f.Hear();
  f.tracker.OnStreamEnd(f.now);
  CHECK(f.health() == WorkerHealth::kSuspect);
  CHECK(f.until_reconnect() == milliseconds(0));
  f.tracker.OnConnect(f.now);
  f.tracker.OnStreamEnd(f.now);
  CHECK(f.health() == WorkerHealth::kDead);
  CHECK(f.until_reconnect() == milliseconds(50));
}

TEST_CASE("a renewed connection costs nothing but a moment") {
  Fixture f;
  f.tracker.OnConnect(f.now);
  f.Hear();
  f.tracker.OnStreamEnd(f.now);
  f.tracker.OnConnect(f.now);
  f.Hear();
  CHECK(f.health() == WorkerHealth::kFresh);
}

TEST_CASE("reconnecting slows down to once a second and recovers its pace") {
  Fixture f;
  std::vector<int64_t> waits;
  for (int i = 0; i < 7; ++i) {
    f.tracker.OnConnect(f.now);
    f.tracker.OnStreamEnd(f.now);
    waits.push_back(f.until_reconnect().count());
  }
  CHECK(waits == std::vector<int64_t>{50, 100, 200, 400, 800, 1000, 1000});
  f.tracker.OnConnect(f.now);
  f.Hear();
  f.tracker.OnStreamEnd(f.now);
  CHECK(f.until_reconnect().count() == 0);
}

TEST_CASE("a report knows of all that was sent before it") {
  Fixture f;
  f.tracker.OnConnect(f.now);
  f.Hear();
  const std::shared_ptr<OutstandingWork> work = f.tracker.info()->outstanding;
  work->calls = 2;
  work->unreported_calls = 2;
  work->unreported_tokens = 900;
  f.Hear();
  CHECK(work->calls == 2);
  CHECK(work->unreported_calls == 0);
  CHECK(work->unreported_tokens == 0);
  CHECK(f.tracker.info()->outstanding == work);
}

TEST_CASE("a restarted worker shows another epoch") {
  Fixture f;
  f.tracker.OnConnect(f.now);
  f.Hear(7);
  const std::shared_ptr<const WorkerInfo> before = f.tracker.info();
  f.Hear(8);
  CHECK(before->epoch == 7);
  CHECK(f.tracker.info()->epoch == 8);
}

TEST_CASE("a stream that never speaks is stuck after 5 s") {
  Fixture f;
  f.tracker.OnConnect(f.now);
  f.Pass(milliseconds(4'999));
  CHECK_FALSE(f.tracker.stuck(f.now));
  f.Pass(milliseconds(1));
  CHECK(f.tracker.stuck(f.now));
}

}  // namespace conclave::mesh
