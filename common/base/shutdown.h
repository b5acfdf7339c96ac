// From a signal to a clean end, in three phases: not ready → drain → stop.
//
//   Shutdown shutdown;                       // first in main(), before any thread: blocks the
//   signals … shutdown.OnNotReady([&] { server.SetReady(false); }); shutdown.OnDrain([&](SteadyTime
//   deadline) { server.Drain(deadline); }); shutdown.OnStop([&] { server.Stop(); }); return
//   shutdown.Run({.settle = 0ms, .drain = 30s});   // waits for SIGTERM or SIGINT
//
// Nothing runs in a signal handler: the signals are blocked and read by a thread of their own. A
// second signal ends the process at once with code 130, whatever hangs.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace conclave::base {

class Shutdown final {
 public:
  // Blocks SIGTERM, SIGINT and ignores SIGPIPE in this thread and all it starts. One per process.
  Shutdown();
  ~Shutdown();
  Shutdown(const Shutdown&) = delete;
  Shutdown& operator=(const Shutdown&) = delete;

  // Registered before Run. Each phase runs its functions in the order they were added, on the
  // thread that called Run.
  void OnNotReady(std::function<void()> step);
  void OnDrain(std::function<void(SteadyTime deadline)> step);
  void OnStop(std::function<void()> step);

  // As if a signal had come: a fatal error elsewhere, or a test. Thread-safe.
  void Request(std::string reason);
  bool requested() const { return requested_.load(); }
  // Waits at most `timeout`; true when requested. Thread-safe.
  bool WaitRequested(std::chrono::milliseconds timeout);

  struct Times {
    // Between not ready and drain, so that balancers notice before the listeners refuse.
    std::chrono::milliseconds settle{0};
    // What all drain steps have together.
    std::chrono::milliseconds drain{30'000};
  };
  // Waits for the request, then walks the phases. The exit code: 0.
  int Run(const Times& times);

 private:
  void WatchSignals();

  std::atomic<bool> requested_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string reason_;
  std::vector<std::function<void()>> not_ready_;
  std::vector<std::function<void(SteadyTime)>> drain_;
  std::vector<std::function<void()>> stop_;
  int signal_fd_ = -1;
  int stop_fd_ = -1;  // eventfd: ends the watching thread
  std::jthread watcher_;
};

}  // namespace conclave::base
