#include "engine/kernels/cpu/thread_pool.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

namespace conclave::engine {

TEST_CASE("every task runs once, with a worker index of its own") {
  for (const int threads : {1, 2, 4, 9}) {
    ThreadPool pool(threads);
    CHECK(pool.num_threads() == threads);
    for (const int64_t tasks : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      std::vector<std::atomic<int>> busy(static_cast<size_t>(threads));
      std::atomic<int> clashes{0};
      pool.ParallelFor(tasks, [&](int64_t task, int worker) {
        if (busy[static_cast<size_t>(worker)].fetch_add(1) != 0) clashes.fetch_add(1);
        runs[static_cast<size_t>(task)].fetch_add(1);
        busy[static_cast<size_t>(worker)].fetch_sub(1);
      });
      CHECK(clashes.load() == 0);
      for (const auto& count : runs) REQUIRE(count.load() == 1);
    }
  }
}

TEST_CASE("many short loops in a row lose no task") {
  ThreadPool pool(4);
  int64_t sum = 0;
  for (int loop = 0; loop < 20'000; ++loop) {
    int64_t parts[5] = {};
    pool.ParallelFor(5, [&](int64_t task, int) { parts[task] = task + 1; });
    for (const int64_t part : parts) sum += part;
  }
  CHECK(sum == 20'000 * 15);
}

TEST_CASE("threads that fell asleep wake up for the next loop") {
  ThreadPool pool(3);
  std::atomic<int> count{0};
  for (int round = 0; round < 3; ++round) {
    // Longer than the spinning: the workers are on the futex by then, or will be; both must work.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.ParallelFor(64, [&](int64_t, int) { count.fetch_add(1); });
  }
  CHECK(count.load() == 192);
}

TEST_CASE("callers from several threads take turns") {
  ThreadPool pool(3);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int loop = 0; loop < 200; ++loop) {
        pool.ParallelFor(8, [&](int64_t, int) {
          const int now = inside.fetch_add(1) + 1;
          int seen = most.load();
          while (now > seen && !most.compare_exchange_weak(seen, now)) {
          }
          total.fetch_add(1);
          inside.fetch_sub(1);
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total.load() == 4 * 200 * 8);
  CHECK(most.load() <= 3);
}

TEST_CASE("there is at least one usable core") {
  CHECK(UsableCores() >= 1);
  CHECK(ThreadPool(0).num_threads() == UsableCores());
}

}  // namespace conclave::engine
