#include "engine/kernels/cpu/thread_pool.h"

#include <pthread.h>

#include <string>

namespace conclave::engine {
namespace {

// About 50 µs of pauses: longer than the serial pieces between two loops of a forward pass, far
// shorter than a scheduler's slice, so a neighbour loses little.
constexpr int kSpinRounds = 2000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads > 0 ? num_threads : UsableCores()) {
  // With more threads than cores a spinning thread takes the core of a working one.
  spin_rounds_ = num_threads_ <= UsableCores() ? kSpinRounds : 0;
  for (int worker = 1; worker < num_threads_; ++worker) {
    threads_.emplace_back([this, worker] { WorkerLoop(worker); });
    pthread_setname_np(threads_.back().native_handle(),
                       ("kernels-" + std::to_string(worker)).c_str());
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Run(int64_t num_tasks, TaskFn fn, void* context) {
  if (num_tasks <= 0) return;
  if (num_threads_ == 1 || num_tasks == 1) {
    // Still one loop at a time: tasks of another caller may hold scratch by worker index.
    const std::lock_guard lock(callers_);
    for (int64_t task = 0; task < num_tasks; ++task) fn(context, task, 0);
    return;
  }
  const std::lock_guard lock(callers_);
  fn_ = fn;
  context_ = context;
  num_tasks_ = num_tasks;
  next_task_.store(0, std::memory_order_relaxed);
  closed_.store(false);
  epoch_.fetch_add(1);
  if (sleepers_.load() > 0) epoch_.notify_all();
  DrainTasks(0);
  // Every task is claimed; whoever holds one is inside. A worker enters by counting itself in and
  // then looking at closed_, so after this store either it stays out or we see it.
  closed_.store(true);
  for (int round = 0; inside_.load() != 0; ++round) {
    if (round < kSpinRounds) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::DrainTasks(int worker) {
  for (;;) {
    const int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (task >= num_tasks_) return;
    fn_(context_, task, worker);
  }
}

void ThreadPool::WorkerLoop(int worker) {
  uint32_t seen = 0;
  while (true) {
    AwaitEpoch(seen);
    if (stop_.load()) return;
    seen = epoch_.load();
    inside_.fetch_add(1);
    if (!closed_.load()) DrainTasks(worker);
    inside_.fetch_sub(1);
  }
}

void ThreadPool::AwaitEpoch(uint32_t seen) {
  for (int round = 0; round < spin_rounds_; ++round) {
    if (epoch_.load(std::memory_order_acquire) != seen) return;
    Pause();
  }
  sleepers_.fetch_add(1);
  while (epoch_.load() == seen) epoch_.wait(seen);
  sleepers_.fetch_sub(1);
}

}  // namespace conclave::engine
