// The threads that compute. A caller brings a loop of independent tasks and works along; threads
// claim tasks by one shared counter, so a thread the system took away delays only the task it holds
// and never the whole team. Between loops they spin briefly, then sleep on a futex.
//
//   pool.ParallelFor(panels, [&](int64_t panel, int worker) { … });
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace conclave::engine {

// Cores this process may use: its affinity mask, cut to the cgroup's CPU quota (rounded up); >= 1.
int UsableCores();

// Thread-safe: loops of several callers run one after another. A task must not start a loop.
class ThreadPool final {
 public:
  // `num_threads` counts the caller: 1 starts no thread. 0 = UsableCores().
  explicit ThreadPool(int num_threads);
  ~ThreadPool();

  int num_threads() const { return num_threads_; }

  // Calls fn(task, worker) once for each task in [0, num_tasks), on any thread in any order, and
  // returns when all are done. worker is in [0, num_threads()) and belongs to one thread for the
  // length of the loop: an index for scratch. What tasks wrote is visible to the caller.
  template <typename Fn>
  void ParallelFor(int64_t num_tasks, Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    Run(
        num_tasks,
        [](void* context, int64_t task, int worker) { (*static_cast<F*>(context))(task, worker); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using TaskFn = void (*)(void* context, int64_t task, int worker);

  void Run(int64_t num_tasks, TaskFn fn, void* context);
  void WorkerLoop(int worker);
  void DrainTasks(int worker);
  // Returns when the epoch differs from `seen`, or stop was asked for.
  void AwaitEpoch(uint32_t seen);

  const int num_threads_;
  int spin_rounds_ = 0;
  std::mutex callers_;  // one loop at a time

  // The loop that runs. Written by its caller while closed_ and nobody is inside.
  TaskFn fn_ = nullptr;
  void* context_ = nullptr;
  int64_t num_tasks_ = 0;

  alignas(64) std::atomic<int64_t> next_task_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};  // + 1 per loop; sleepers wait on it
  alignas(64) std::atomic<int> inside_{0};      // workers that may touch the loop's fields
  std::atomic<bool> closed_{true};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace conclave::engine
