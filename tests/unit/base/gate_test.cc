#include "base/gate.h"

#include <catch2/catch.hpp>
#include <thread>

#include "base/bounded_queue.h"
#include "base/ids.h"

namespace conclave::base {

TEST_CASE("a closed gate lets nobody in and waits for those inside") {
  Gate gate;
  std::optional<Gate::Pass> pass = gate.Enter();
  REQUIRE(pass.has_value());
  gate.Close();
  CHECK_FALSE(gate.Enter().has_value());
  CHECK_FALSE(gate.WaitUntilEmpty(std::chrono::milliseconds(1)));
  std::thread leaver([&] { pass.reset(); });
  CHECK(gate.WaitUntilEmpty(std::chrono::seconds(10)));
  leaver.join();
  CHECK(gate.inside() == 0);
}

TEST_CASE("a bounded queue refuses beyond its limit and drains after close") {
  BoundedQueue<int> queue(2);
  CHECK(queue.TryPush(1));
  CHECK(queue.TryPush(2));
  CHECK_FALSE(queue.TryPush(3));
  queue.Close();
  CHECK_FALSE(queue.TryPush(4));
  CHECK(queue.Pop(std::chrono::seconds(1)) == std::optional<int>(1));
  CHECK(queue.Pop(std::chrono::seconds(1)) == std::optional<int>(2));
  CHECK_FALSE(queue.Pop(std::chrono::seconds(1)).has_value());
}

TEST_CASE("an id is its prefix and 32 hex digits") {
  const std::string id = NewId("run_");
  CHECK(id.size() == 36);
  CHECK(IsId(id, "run_"));
  CHECK_FALSE(IsId("run_xyz", "run_"));
  CHECK(NewId("run_") != id);
}

}  // namespace conclave::base
