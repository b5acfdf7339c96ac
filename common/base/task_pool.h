// A few threads for work that must not run where it arose: gRPC's threads, say, where tokenising a
// long prompt would hold up other calls. Bounded: a full pool refuses.
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace conclave::base {

// Thread-safe.
class TaskPool final {
 public:
  TaskPool(int num_threads, size_t queue_limit) : queue_(queue_limit) {
    for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  // Runs what is queued, then joins.
  ~TaskPool() { queue_.Close(); }
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  // False when the queue is full.
  bool Post(std::function<void()> task) { return queue_.TryPush(std::move(task)); }

 private:
  void Run() {
    while (true) {
      auto task = queue_.Pop(std::chrono::seconds(60));
      if (task) {
        (*task)();
      } else if (queue_.closed()) {
        return;
      }
    }
  }

  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace conclave::base
