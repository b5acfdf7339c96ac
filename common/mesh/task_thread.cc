#include "mesh/task_thread.h"

#include <pthread.h>

namespace conclave::mesh {

TaskThread::TaskThread(std::string name)
    : thread_([this, name = std::move(name)] {
        pthread_setname_np(pthread_self(), name.c_str());
        Run();
      }) {}

TaskThread::~TaskThread() { Stop(); }

void TaskThread::Post(Task task) { At(base::SteadyTime::min(), std::move(task)); }

void TaskThread::At(base::SteadyTime when, Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    tasks_.emplace(when, std::move(task));
  }
  wake_.notify_one();
}

void TaskThread::Stop() {
  std::multimap<base::SteadyTime, Task> dropped;  // destroyed without the lock
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(tasks_);
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void TaskThread::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (tasks_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const auto first = tasks_.begin();
    if (first->first > std::chrono::steady_clock::now()) {
      wake_.wait_until(lock, first->first);
      continue;
    }
    Task task = std::move(first->second);
    tasks_.erase(first);
    lock.unlock();
    task();
    task = nullptr;  // what it captured goes without the lock
    lock.lock();
  }
}

}  // namespace conclave::mesh
