// One thread that runs small tasks, at once or at a time: retries, deadlines, sweeps. Tasks must
// not block. Thread-safe. Knows no gRPC, so that it can be tested under TSan.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "base/clock.h"

namespace conclave::mesh {

class TaskThread final {
 public:
  using Task = absl::AnyInvocable<void()>;

  explicit TaskThread(std::string name);  // at most 15 letters
  ~TaskThread();                          // Stop()
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  // In the order posted; dropped after Stop.
  void Post(Task task);
  void At(base::SteadyTime when, Task task);

  // Ends after the running task; the rest is dropped. Not from a task. Idempotent.
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::multimap<base::SteadyTime, Task> tasks_;  // equal times keep their order
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace conclave::mesh
