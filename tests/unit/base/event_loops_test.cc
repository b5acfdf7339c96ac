#include "base/event_loops.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <catch2/catch.hpp>
#include <future>
#include <optional>
#include <set>

namespace conclave::base {
namespace {

EventLoop* LoopThatRuns(EventLoop& loop) {
  std::promise<EventLoop*> found;
  boost::asio::post(loop.io(), [&] { found.set_value(EventLoop::Current()); });
  return found.get_future().get();
}

TEST_CASE("a thread knows the loop it runs, and no other") {
  EventLoops loops(3, "test");
  REQUIRE(loops.size() == 3);
  std::set<EventLoop*> seen;
  for (size_t i = 0; i < loops.size(); ++i) {
    CHECK(LoopThatRuns(*loops.at(i)) == loops.at(i).get());
    seen.insert(loops.at(i).get());
  }
  CHECK(seen.size() == 3);
  CHECK(EventLoop::Current() == nullptr);
  CHECK(!loops.at(0)->runs_here());
}

TEST_CASE("stopping destroys what still waits, and what lives on a loop may go later") {
  auto held = std::make_shared<int>(1);
  std::shared_ptr<EventLoop> loop;
  std::optional<boost::asio::steady_timer> timer;
  {
    EventLoops loops(1, "test");
    loop = loops.at(0);
    timer.emplace(loop->io(), std::chrono::hours(1));
    timer->async_wait([held](const boost::system::error_code&) {});
    CHECK(held.use_count() == 2);
    loops.Stop();
    CHECK(held.use_count() == 1);
    loops.Stop();
  }
  boost::asio::post(loop->io(), [held] {});
  timer.reset();
  loop.reset();
  CHECK(held.use_count() == 1);
}

}  // namespace
}  // namespace conclave::base
