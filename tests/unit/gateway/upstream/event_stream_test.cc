#include "gateway/upstream/event_stream.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <future>
#include <thread>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

using Stream = EventStream<int>;
using std::chrono::steady_clock;

void RunOn(boost::asio::io_context& io, std::function<Task<void>()> work) {
  std::exception_ptr thrown;
  boost::asio::co_spawn(io, std::move(work), [&](std::exception_ptr error) { thrown = error; });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace

TEST_CASE("events of another thread arrive in order, then the end") {
  boost::asio::io_context io;
  auto feed = std::make_shared<Stream::Feed>();
  Stream stream(
      feed, [] {}, [] {});
  std::vector<int> all;
  std::jthread feeder([feed] {
    for (int i = 0; i < 10'000; ++i) feed->Push(i, 0);
    feed->Finish(absl::UnavailableError("over"));
  });
  RunOn(io, [&]() -> Task<void> {
    while (co_await stream.Next(&all, base::SteadyTime::max()) != StreamGot::kEnd) {
    }
  });
  REQUIRE(all.size() == 10'000);
  for (int i = 0; i < 10'000; ++i) REQUIRE(all[static_cast<size_t>(i)] == i);
  CHECK(absl::IsUnavailable(stream.status()));
}

TEST_CASE("events brought on the reader's own loop are found together") {
  base::EventLoops loops(1, "test");
  auto feed = std::make_shared<Stream::Feed>();
  Stream stream(
      feed, [] {}, [] {});
  std::vector<std::vector<int>> looks;
  std::promise<void> ended;
  boost::asio::co_spawn(
      loops.at(0)->io(),
      [&]() -> Task<void> {
        boost::asio::post(loops.at(0)->io(), [feed] {
          for (int i = 0; i < 3; ++i) feed->Push(i, 0);
        });
        std::vector<int> out;
        while (co_await stream.Next(&out, base::SteadyTime::max()) != StreamGot::kEnd) {
          looks.push_back(std::exchange(out, {}));
          feed->Finish(absl::OkStatus());
        }
      },
      [&](const std::exception_ptr&) { ended.set_value(); });
  REQUIRE(ended.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  CHECK(looks == std::vector<std::vector<int>>{{0, 1, 2}});
}

TEST_CASE("silence gives a timeout and the stream goes on") {
  boost::asio::io_context io;
  auto feed = std::make_shared<Stream::Feed>();
  Stream stream(
      feed, [] {}, [] {});
  RunOn(io, [&]() -> Task<void> {
    std::vector<int> out;
    const auto soon = steady_clock::now() + std::chrono::milliseconds(5);
    StreamGot got = co_await stream.Next(&out, soon);
    CHECK(got == StreamGot::kTimeout);
    feed->Push(7, 0);
    got = co_await stream.Next(&out, base::SteadyTime::max());
    CHECK(got == StreamGot::kEvents);
    CHECK(out == std::vector<int>{7});
    feed->Finish(absl::OkStatus());
  });
}

TEST_CASE("a full stream stops its feeder and asks again when emptied") {
  boost::asio::io_context io;
  auto feed = std::make_shared<Stream::Feed>();
  int asked = 0;
  Stream stream(
      feed, [&asked] { ++asked; }, [] {});
  CHECK(feed->Push(1, Stream::Feed::kBytesMax - 1));
  CHECK_FALSE(feed->Push(2, 1));
  CHECK(asked == 0);
  RunOn(io, [&]() -> Task<void> {
    std::vector<int> out;
    co_await stream.Next(&out, base::SteadyTime::max());
    CHECK(out.size() == 2);
  });
  CHECK(asked == 1);
  CHECK(feed->Push(3, 1));
}

TEST_CASE("dropping an unfinished stream cancels it, a finished one not") {
  int cancelled = 0;
  const auto cancel = [&cancelled] { ++cancelled; };
  {
    Stream stream(
        std::make_shared<Stream::Feed>(), [] {}, cancel);
  }
  CHECK(cancelled == 1);
  boost::asio::io_context io;
  {
    auto feed = std::make_shared<Stream::Feed>();
    feed->Finish(absl::OkStatus());
    Stream stream(
        feed, [] {}, cancel);
    RunOn(io, [&]() -> Task<void> {
      std::vector<int> out;
      const StreamGot got = co_await stream.Next(&out, base::SteadyTime::max());
      CHECK(got == StreamGot::kEnd);
    });
  }
  CHECK(cancelled == 1);
}

}  // namespace conclave::gateway
