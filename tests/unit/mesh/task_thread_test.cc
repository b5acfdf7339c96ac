#include "mesh/task_thread.h"

#include <catch2/catch.hpp>
#include <future>
#include <vector>

#include "mesh/retry_budget.h"

namespace conclave::mesh {

using std::chrono::milliseconds;

TEST_CASE("tasks run in the order posted, timed ones in the order due") {
  TaskThread thread("test");
  std::vector<int> ran;
  std::promise<void> end;
  const base::SteadyTime now = std::chrono::steady_clock::now();
  thread.At(now + milliseconds(20), [&] { ran.push_back(4); });
  thread.At(now + milliseconds(30), [&] { end.set_value(); });
  thread.At(now + milliseconds(10), [&] { ran.push_back(3); });
  thread.Post([&] { ran.push_back(1); });
  thread.Post([&] { ran.push_back(2); });
  REQUIRE(end.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  CHECK(ran == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("a task may post the next one") {
  TaskThread thread("test");
  std::promise<int> end;
  thread.Post([&] { thread.Post([&] { end.set_value(7); }); });
  auto future = end.get_future();
  REQUIRE(future.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  CHECK(future.get() == 7);
}

TEST_CASE("stopping drops what is not due, and destroys it") {
  auto held = std::make_shared<int>(1);
  TaskThread thread("test");
  thread.At(std::chrono::steady_clock::now() + std::chrono::hours(1), [held] { FAIL(); });
  thread.Stop();
  CHECK(held.use_count() == 1);
  thread.Post([held] { FAIL(); });
  CHECK(held.use_count() == 1);
  thread.Stop();
}

TEST_CASE("the retry budget is a reserve and a tenth of the requests") {
  RetryBudget budget;
  int taken = 0;
  while (budget.TryTake()) ++taken;
  CHECK(taken == 20);
  for (int i = 0; i < 9; ++i) budget.OnRequest();
  CHECK_FALSE(budget.TryTake());
  budget.OnRequest();
  CHECK(budget.TryTake());
  CHECK_FALSE(budget.TryTake());
}

}  // namespace conclave::mesh
