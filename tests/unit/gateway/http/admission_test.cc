#include "gateway/http/admission.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <optional>
#include <vector>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

// Only the cancelling side of a writer is used here.
class Writer final : public ResponseWriter {
 public:
  Task<absl::StatusOr<bool>> ReadBody(std::string*) override { co_return false; }
  Task<void> Reply(Response) override { co_return; }
  Task<bool> BeginStream(int, std::string_view, HeaderList) override { co_return true; }
  Task<bool> Write(std::string_view) override { co_return true; }
  Task<void> EndStream() override { co_return; }
  void Abort() override {}
  bool started() const override { return false; }
  CancelReason cancel_reason() const override { return CancelReason::kNone; }
  void OnCancel(std::function<void()> listener) override { on_cancel = std::move(listener); }
  std::function<void()> on_cancel;
};

using Result = std::optional<absl::StatusOr<Admission::Permit>>;

struct World {
  explicit World(AdmissionOptions options) : admission(options) {}

  // Begins to wait; the result is there when it has ended.
  void Enter(Result& result, const std::string& model = "m") {
    boost::asio::co_spawn(
        io,
        [this, &result, model]() -> Task<void> {
          result = co_await admission.Enter(model, writer);
        },
        [](std::exception_ptr error) {
          if (error) std::rethrow_exception(error);
        });
    Poll();
  }
  void Poll() {
    io.restart();
    io.poll();
  }

  boost::asio::io_context io;
  Admission admission;
  Writer writer;
};

}  // namespace

TEST_CASE("places are limited, the queue is in order") {
  World world({.in_flight_max = 1, .queue_max = 2});
  Result first;
  Result second;
  Result third;
  Result fourth;
  world.Enter(first);
  REQUIRE(first);
  CHECK(first->ok());
  world.Enter(second);
  world.Enter(third);
  CHECK_FALSE(second);
  world.Enter(fourth);
  REQUIRE(fourth);
  CHECK(base::ReasonOf(fourth->status()) == "queue_full");
  CHECK(base::RetryAfterOf(fourth->status()).count() >= 1000);
  first.reset();
  world.Poll();
  REQUIRE(second);
  CHECK(second->ok());
  CHECK_FALSE(third);
  second.reset();
  world.Poll();
  CHECK(third);
}

TEST_CASE("models do not wait for each other") {
  World world({.in_flight_max = 1, .queue_max = 0});
  Result a;
  Result b;
  Result c;
  world.Enter(a, "a");
  world.Enter(b, "b");
  world.Enter(c, "a");
  CHECK(a->ok());
  CHECK(b->ok());
  CHECK_FALSE(c->ok());
}

TEST_CASE("who goes or waits too long leaves the queue") {
  World world({.in_flight_max = 1, .queue_max = 1, .queue_ttl = std::chrono::milliseconds(20)});
  Result first;
  Result second;
  world.Enter(first);
  SECTION("gone") {
    world.Enter(second);
    REQUIRE(world.writer.on_cancel);
    world.writer.on_cancel();
    world.Poll();
    REQUIRE(second);
    CHECK(absl::IsCancelled(second->status()));
  }
  SECTION("too long") {
    world.Enter(second);
    world.io.restart();
    world.io.run();
    REQUIRE(second);
    CHECK(base::ReasonOf(second->status()) == "queue_timeout");
  }
  SECTION("admitted and gone at once: the place is passed on") {
    world.Enter(second);
    first.reset();
    world.writer.on_cancel();
    world.Poll();
    REQUIRE(second);
    CHECK_FALSE(second->ok());
  }
  first.reset();
  Result third;
  world.Enter(third);
  REQUIRE(third);
  CHECK(third->ok());
}

}  // namespace conclave::gateway
