#include "backends/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;

constexpr int kErrorFd = 3;  // in the child: where a failed exec is told
constexpr milliseconds kReapPause{5};
constexpr milliseconds kReapMax{10'000};

struct Pipe {
  std::array<int, 2> ends = {-1, -1};
  ~Pipe() {
    for (const int fd : ends) {
      if (fd >= 0) close(fd);
    }
  }
  bool Open() { return pipe2(ends.data(), O_CLOEXEC) == 0; }
  int read() const { return ends[0]; }
  int write() const { return ends[1]; }
  int Take(int side) { return std::exchange(ends[static_cast<size_t>(side)], -1); }
};

void Limit(int what, int64_t value) {
  const rlimit limit{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
  setrlimit(static_cast<__rlimit_resource_t>(what), &limit);
}

struct Launch {
  const ChildSpec& spec;
  char* const* argv;
  char* const* environment;
  const Pipe& input;
  const Pipe& output;
  const Pipe& errors;
  const Pipe& failure;
  pid_t parent;
};

// Between fork and exec: nothing but what is async-signal-safe, other threads may hold any lock.
[[noreturn]] void Become(const Launch& launch) {
  const auto fail = [] {
    const int error = errno;
    static_cast<void>(!write(kErrorFd, &error, sizeof error));
    _exit(127);
  };
  // Above the places the descriptors go to, whatever they were.
  const int failure = fcntl(launch.failure.write(), F_DUPFD, 16);
  const int input = fcntl(launch.input.read(), F_DUPFD, 16);
  const int output = fcntl(launch.output.write(), F_DUPFD, 16);
  const int errors = fcntl(launch.errors.write(), F_DUPFD, 16);
  dup2(failure, kErrorFd);
  fcntl(kErrorFd, F_SETFD, FD_CLOEXEC);
  dup2(input, 0);
  dup2(output, 1);
  dup2(errors, 2);
  close_range(kErrorFd + 1, ~0U, 0);
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launch.parent) _exit(127);  // it died meanwhile
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  umask(077);
  Limit(RLIMIT_CORE, 0);
  Limit(RLIMIT_NOFILE, launch.spec.open_files);
  if (launch.spec.memory_bytes > 0) Limit(RLIMIT_AS, launch.spec.memory_bytes);
  if (launch.spec.cpu_seconds > 0) Limit(RLIMIT_CPU, launch.spec.cpu_seconds);
  if (launch.spec.file_bytes > 0) Limit(RLIMIT_FSIZE, launch.spec.file_bytes);
  if (chdir(launch.spec.directory.c_str()) != 0) fail();
  execve(launch.argv[0], launch.argv, launch.environment);
  fail();
  _exit(127);
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

void SetNonBlocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const ChildSpec& spec) {
  Pipe input;
  Pipe output;
  Pipe errors;
  Pipe failure;
  if (!input.Open() || !output.Open() || !errors.Open() || !failure.Open()) {
    return base::ResourceExhausted(absl::StrCat("no pipes for a child: ", strerror(errno)));
  }
  const std::vector<char*> argv = Pointers(spec.argv);
  const std::vector<char*> environment = Pointers(spec.environment);
  const Launch launch{spec,    argv.data(), environment.data(), input, output, errors,
                      failure, getpid()};
  const pid_t pid = fork();
  if (pid < 0) return base::ResourceExhausted(absl::StrCat("fork: ", strerror(errno)));
  if (pid == 0) Become(launch);

  std::unique_ptr<ChildProcess> child(new ChildProcess());
  child->pid_ = pid;
  child->input_ = input.Take(1);
  child->output_ = output.Take(0);
  child->errors_ = errors.Take(0);
  close(failure.Take(1));
  int error = 0;
  ssize_t got = 0;
  do {
    got = read(failure.read(), &error, sizeof error);  // ends when exec closes the other side
  } while (got < 0 && errno == EINTR);
  if (got == sizeof error) {
    return base::FailedPrecondition(absl::StrCat(spec.argv[0], ": ", strerror(error)));
  }
  SetNonBlocking(child->input_);
  SetNonBlocking(child->output_);
  SetNonBlocking(child->errors_);
  return child;
}

ChildProcess::~ChildProcess() {
  Kill(milliseconds(0));
  CloseOutput();
  CloseErrors();
}

void ChildProcess::CloseOutput() {
  if (output_ >= 0) close(std::exchange(output_, -1));
}

void ChildProcess::CloseErrors() {
  if (errors_ >= 0) close(std::exchange(errors_, -1));
}

std::optional<std::string> ChildProcess::Ended() {
  siginfo_t info{};
  if (reaped_ || waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
    return "gone";
  }
  if (info.si_pid == 0) return std::nullopt;
  return absl::StrCat(info.si_code == CLD_EXITED ? "exit status " : "signal ", info.si_status);
}

void ChildProcess::Kill(milliseconds grace) {
  if (input_ >= 0) close(std::exchange(input_, -1));
  if (reaped_) return;
  const auto wait = [this](milliseconds time) {
    const base::SteadyTime until = base::Clock::System().Now() + time;
    while (!Ended() && base::Clock::System().Now() < until) {
      std::this_thread::sleep_for(kReapPause);
    }
  };
  if (!Ended() && grace.count() > 0) {
    kill(-pid_, SIGTERM);
    wait(grace);
  }
  kill(-pid_, SIGKILL);  // also those whose leader has ended
  wait(kReapMax);
  reaped_ = waitpid(pid_, nullptr, WNOHANG) == pid_;
}

}  // namespace conclave::backends
