#include "base/shutdown.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>

#include "base/check.h"
#include "base/log.h"

namespace conclave::base {
namespace {

constexpr int kForcedExitCode = 130;

sigset_t EndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

Shutdown::Shutdown() {
  const sigset_t signals = EndingSignals();
  CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  ::signal(SIGPIPE, SIG_IGN);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  CHECK(signal_fd_ >= 0 && stop_fd_ >= 0);
  watcher_ = std::jthread([this] { WatchSignals(); });
}

Shutdown::~Shutdown() {
  const uint64_t one = 1;
  CHECK(::write(stop_fd_, &one, sizeof one) == sizeof one);
  watcher_.join();
  ::close(signal_fd_);
  ::close(stop_fd_);
}

void Shutdown::WatchSignals() {
  pthread_setname_np(pthread_self(), "signals");
  for (;;) {
    pollfd fds[] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;  // EINTR
    if (fds[1].revents != 0) return;
    signalfd_siginfo info{};
    if (::read(signal_fd_, &info, sizeof info) != sizeof info) continue;
    if (requested()) {
      LogError("second signal: leaving at once", {{"signal", info.ssi_signo}});
      ::_exit(kForcedExitCode);
    }
    Request(info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
  }
}

void Shutdown::OnNotReady(std::function<void()> step) { not_ready_.push_back(std::move(step)); }
void Shutdown::OnDrain(std::function<void(SteadyTime)> step) { drain_.push_back(std::move(step)); }
void Shutdown::OnStop(std::function<void()> step) { stop_.push_back(std::move(step)); }

void Shutdown::Request(std::string reason) {
  {
    const std::lock_guard lock(mutex_);
    if (requested_.exchange(true)) return;
    reason_ = std::move(reason);
  }
  wake_.notify_all();
}

bool Shutdown::WaitRequested(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return wake_.wait_for(lock, timeout, [&] { return requested_.load(); });
}

int Shutdown::Run(const Times& times) {
  while (!WaitRequested(std::chrono::hours(1))) {
  }
  LogInfo("shutting down", {{"reason", reason_}, {"drain_ms", times.drain.count()}});
  for (const std::function<void()>& step : not_ready_) step();
  if (times.settle.count() > 0) std::this_thread::sleep_for(times.settle);
  const SteadyTime deadline = std::chrono::steady_clock::now() + times.drain;
  for (const std::function<void(SteadyTime)>& step : drain_) step(deadline);
  for (const std::function<void()>& step : stop_) step();
  LogInfo("stopped");
  return 0;
}

}  // namespace conclave::base
