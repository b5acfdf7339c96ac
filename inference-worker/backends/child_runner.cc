#include "backends/child_runner.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using base::SteadyTime;
using std::chrono::milliseconds;

constexpr int32_t kFailuresMax = 5;  // in a row, then the model is unhealthy
constexpr milliseconds kPauseMax{30'000};
constexpr milliseconds kLookMax{200};  // how long an ended child may go unnoticed
// Who closes its output is about to end: how, is known a moment later.
constexpr milliseconds kCloseGrace{100};
constexpr size_t kReadBytes = 64 * 1024;
constexpr int kReadsMax = 16;  // of one turn: a flood must not keep flags and clocks waiting

SteadyTime Now() { return base::Clock::System().Now(); }

absl::Status Lost(std::string_view what) {
  return base::WithReason(
      base::Unavailable(absl::StrCat("the model's process ", std::string(what))), "upstream_lost");
}

}  // namespace

// One thread, one child.
class ChildPool::Runner final {
 public:
  explicit Runner(ChildPool* pool)
      : pool_(pool), options_(pool->options_), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Runner() {
    stop_ = true;
    Wake();
    thread_.join();
    close(wake_);
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void Wake() {
    const uint64_t one = 1;
    static_cast<void>(!write(wake_, &one, sizeof one));
  }

 private:
  void Run();
  void Turn();
  void StartChild();
  void LoseChild(const std::string& how);
  void TakeJob();
  void FinishJob() {
    job_ = nullptr;
    unsent_.clear();
    sent_ = 0;
    cancelling_ = false;
    paused_ = false;
  }
  void FailJob(const absl::Status& status);
  void LookAtFlags();
  void CheckTimes();
  void Poll();
  void Send();
  void ReadOutput();
  void ReadLines();
  void GiveLine(std::string_view line);
  void Obey(ChildJob::Next next);
  void ReadErrors();
  void LogErrors(bool all);

  ChildPool* const pool_;
  const RunnerOptions& options_;
  const int wake_;
  std::atomic<bool> stop_{false};

  std::unique_ptr<ChildProcess> child_;
  std::shared_ptr<ChildJob> job_;
  std::string unsent_;  // lines to the child, the first sent_ bytes of them gone
  size_t sent_ = 0;
  std::string output_;  // read, not yet given
  std::string errors_;
  bool paused_ = false;
  bool cancelling_ = false;  // the answer is not wanted any more
  SteadyTime give_up_at_{};  // then a cancelled child is killed
  SteadyTime start_at_{};
  SteadyTime closed_at_{};  // the child's output
  milliseconds pause_{0};
  bool ended_for_good_ = false;
  std::thread thread_;
};

void ChildPool::Runner::Run() {
  // Only this thread writes to the child, and it hears of a closed pipe by EPIPE.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (!stop_) Turn();
  FailJob(base::Unavailable("the worker is stopping"));
  if (child_ != nullptr) child_->Kill(options_.stop_grace);
  child_ = nullptr;
}

void ChildPool::Runner::Turn() {
  if (child_ == nullptr && !ended_for_good_ && Now() >= start_at_) StartChild();
  pool_->Sweep();
  if (job_ == nullptr && child_ != nullptr) TakeJob();
  Poll();
  if (child_ != nullptr) {
    ReadErrors();
    ReadOutput();
  }
  LookAtFlags();
  if (child_ != nullptr) Send();
  CheckTimes();
  if (child_ == nullptr) return;
  if (const auto how = child_->Ended()) {
    ReadErrors();
    ReadOutput();  // what it said before it ended counts
    if (child_ != nullptr && !paused_) LoseChild(*how);
  } else if (child_->output() < 0 && Now() >= closed_at_ + kCloseGrace) {
    LoseChild("closed its output");
  }
}

void ChildPool::Runner::StartChild() {
  absl::StatusOr<std::unique_ptr<ChildProcess>> child = ChildProcess::Start(options_.child);
  output_.clear();
  errors_.clear();
  if (child.ok()) {
    child_ = *std::move(child);
    pool_->log_->Add(base::LogLevel::kInfo, "process started", {{"pid", child_->pid()}});
    return pool_->NoteStarted(absl::OkStatus());
  }
  pool_->NoteStarted(child.status());
  LoseChild(std::string(child.status().message()));
}

void ChildPool::Runner::LoseChild(const std::string& how) {
  LogErrors(true);
  pool_->log_->Add(base::LogLevel::kError, "process ended", {{"how", how}});
  if (child_ != nullptr) child_->Kill(milliseconds(0));  // what is left of its group
  child_ = nullptr;
  pool_->NoteEnded(how);
  FailJob(Lost(absl::StrCat("ended (", how, ")")));
  ended_for_good_ = !options_.restart;
  pause_ = std::min(std::max(options_.restart_pause, pause_ * 2), kPauseMax);
  start_at_ = Now() + pause_;
}

void ChildPool::Runner::TakeJob() {
  job_ = pool_->Take();
  if (job_ == nullptr) return;
  if (!output_.empty()) {
    // It would be taken for the answer.
    pool_->log_->Add(base::LogLevel::kWarning, "unasked output", {{"bytes", output_.size()}});
    output_.clear();
  }
  if (job_->cancelled) return FailJob(absl::CancelledError("cancelled"));
  unsent_ = job_->line() + "\n";
}

void ChildPool::Runner::FailJob(const absl::Status& status) {
  if (job_ == nullptr) return;
  const std::shared_ptr<ChildJob> job = job_;
  const bool told = cancelling_;
  FinishJob();
  if (!told) job->OnFail(status);
}

void ChildPool::Runner::LookAtFlags() {
  if (job_ == nullptr) return;
  if (job_->cancelled && !cancelling_) {
    const std::shared_ptr<ChildJob> job = job_;
    // The child gets a moment to come to an end by itself; nobody hears that end.
    cancelling_ = true;
    paused_ = false;
    give_up_at_ = Now() + options_.cancel_grace;
    const std::string line = job->cancel_line();
    if (!line.empty()) unsent_ += line + "\n";
    return job->OnFail(absl::CancelledError("cancelled"));
  }
  if (job_->resumed.exchange(false) && !cancelling_) {
    paused_ = false;
    Obey(job_->GoOn());
    ReadLines();
  }
}

void ChildPool::Runner::CheckTimes() {
  if (job_ == nullptr || child_ == nullptr) return;
  const SteadyTime now = Now();
  if (cancelling_ && now >= give_up_at_) {
    pool_->log_->Add(base::LogLevel::kWarning, "killed: did not end a cancelled request");
    child_->Kill(milliseconds(0));
    return LoseChild("killed");
  }
  if (cancelling_ || now < job_->deadline) return;
  pool_->log_->Add(base::LogLevel::kWarning, "killed: took longer than a request may");
  FailJob(base::WithReason(absl::DeadlineExceededError("the model's process took too long"),
                           "upstream_timeout"));
  child_->Kill(milliseconds(0));
  LoseChild("killed");
}

void ChildPool::Runner::Poll() {
  std::array<pollfd, 4> fds;
  nfds_t count = 0;
  fds[count++] = {wake_, POLLIN, 0};
  if (child_ != nullptr) {
    if (child_->output() >= 0 && !paused_) fds[count++] = {child_->output(), POLLIN, 0};
    if (child_->errors() >= 0) fds[count++] = {child_->errors(), POLLIN, 0};
    if (sent_ < unsent_.size() && child_->input() >= 0)
      fds[count++] = {child_->input(), POLLOUT, 0};
  }
  SteadyTime until = Now() + kLookMax;
  if (child_ != nullptr && child_->output() < 0) {
    until = std::min(until, closed_at_ + kCloseGrace);
  }
  if (child_ == nullptr && !ended_for_good_) until = std::min(until, start_at_);
  if (job_ != nullptr) until = std::min(until, cancelling_ ? give_up_at_ : job_->deadline);
  const auto left = std::chrono::ceil<milliseconds>(until - Now());
  poll(fds.data(), count, static_cast<int>(std::max(left, milliseconds(0)).count()));
  uint64_t drained = 0;
  static_cast<void>(!read(wake_, &drained, sizeof drained));
}

void ChildPool::Runner::Send() {
  while (sent_ < unsent_.size() && child_->input() >= 0) {
    const ssize_t sent = write(child_->input(), unsent_.data() + sent_, unsent_.size() - sent_);
    if (sent <= 0) return;  // full, or closed: Ended says the rest
    sent_ += static_cast<size_t>(sent);
  }
}

void ChildPool::Runner::ReadOutput() {
  std::array<char, kReadBytes> bytes;
  for (int i = 0; i < kReadsMax; ++i) {
    if (child_ == nullptr || child_->output() < 0 || paused_) return;
    const ssize_t got = read(child_->output(), bytes.data(), bytes.size());
    if (got < 0) return;
    if (got == 0) {
      closed_at_ = Now();
      return child_->CloseOutput();
    }
    output_.append(bytes.data(), static_cast<size_t>(got));
    ReadLines();
  }
}

void ChildPool::Runner::ReadLines() {
  size_t begin = 0;
  while (child_ != nullptr && !paused_) {
    const size_t end = output_.find('\n', begin);
    const size_t length = (end == std::string::npos ? output_.size() : end) - begin;
    if (static_cast<int64_t>(length) > options_.line_bytes_max) {
      FailJob(base::WithReason(base::Internal("the model's process wrote a line that is too long"),
                               "upstream_invalid"));
      return LoseChild("killed: a line longer than it may be");
    }
    if (end == std::string::npos) break;
    const std::string line = output_.substr(begin, length);
    begin = end + 1;
    GiveLine(line);
  }
  output_.erase(0, std::min(begin, output_.size()));
}

void ChildPool::Runner::GiveLine(std::string_view line) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (job_ == nullptr) {
    pool_->log_->Add(base::LogLevel::kWarning, "unasked output", {{"bytes", line.size()}});
    return;
  }
  // Also a cancelled job knows where its answer ends.
  Obey(job_->OnLine(line));
}

void ChildPool::Runner::Obey(ChildJob::Next next) {
  if (next == ChildJob::Next::kPause && !cancelling_) {
    paused_ = true;
    return;
  }
  if (next != ChildJob::Next::kDone) return;
  FinishJob();
  pause_ = milliseconds(0);
  pool_->NoteAnswered();
}

void ChildPool::Runner::ReadErrors() {
  std::array<char, kReadBytes> bytes;
  while (child_->errors() >= 0) {
    const ssize_t got = read(child_->errors(), bytes.data(), bytes.size());
    if (got < 0) return;
    if (got == 0) {
      child_->CloseErrors();
      return LogErrors(true);
    }
    errors_.append(bytes.data(), static_cast<size_t>(got));
    LogErrors(false);
  }
}

void ChildPool::Runner::LogErrors(bool all) {
  size_t begin = 0;
  while (begin < errors_.size()) {
    const size_t end = errors_.find('\n', begin);
    const bool whole = end != std::string::npos;
    const size_t length = (whole ? end : errors_.size()) - begin;
    if (!whole && !all && length < ModelLog::kMessageBytesMax) break;
    pool_->log_->Add(base::LogLevel::kInfo, std::string_view(errors_).substr(begin, length),
                     {{"stream", "stderr"}});
    begin += length + (whole ? 1 : 0);
  }
  errors_.erase(0, begin);
}

ChildPool::ChildPool(RunnerOptions options, std::shared_ptr<ModelLog> log)
    : options_(std::move(options)), log_(std::move(log)) {
  for (int32_t i = 0; i < options_.processes; ++i) {
    auto runner = std::make_unique<Runner>(this);
    const std::lock_guard lock(mutex_);
    runners_.push_back(std::move(runner));
  }
}

ChildPool::~ChildPool() {
  std::vector<std::unique_ptr<Runner>> runners;
  std::deque<std::shared_ptr<ChildJob>> queue;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    runners.swap(runners_);
    queue.swap(queue_);
  }
  runners.clear();
  for (const auto& job : queue) job->OnFail(base::Unavailable("the worker is stopping"));
}

absl::Status ChildPool::WaitUntilStarted(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (!started_.wait_for(lock, timeout, [&] { return first_known_; })) {
    return absl::DeadlineExceededError("the process did not start in time");
  }
  return first_;
}

absl::Status ChildPool::Submit(std::shared_ptr<ChildJob> job) {
  job->deadline = Now() + options_.request_timeout;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return base::Unavailable("draining");
    if (queue_.size() >= static_cast<size_t>(options_.queued_max + options_.processes)) {
      return base::ResourceExhausted(
          absl::StrCat("the queue of this model is full (", options_.queued_max, " waiting)"));
    }
    queue_.push_back(std::move(job));
  }
  Wake();
  return absl::OkStatus();
}

void ChildPool::Wake() {
  const std::lock_guard lock(mutex_);
  for (const auto& runner : runners_) runner->Wake();
}

std::shared_ptr<ChildJob> ChildPool::Take() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return nullptr;
  std::shared_ptr<ChildJob> job = std::move(queue_.front());
  queue_.pop_front();
  return job;
}

void ChildPool::Sweep() {
  std::vector<std::shared_ptr<ChildJob>> gone;
  {
    const std::lock_guard lock(mutex_);
    const SteadyTime now = Now();
    std::erase_if(queue_, [&](const std::shared_ptr<ChildJob>& job) {
      const bool out = job->cancelled || job->deadline <= now;
      if (out) gone.push_back(job);
      return out;
    });
  }
  for (const auto& job : gone) {
    job->OnFail(job->cancelled ? absl::CancelledError("cancelled")
                               : base::WithReason(absl::DeadlineExceededError(
                                                      "no process of the model was free in time"),
                                                  "upstream_timeout"));
  }
}

void ChildPool::NoteStarted(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (status.ok()) ++running_;
  if (!std::exchange(first_known_, true)) first_ = status;
  started_.notify_all();
}

void ChildPool::NoteEnded(const std::string& how) {
  const std::lock_guard lock(mutex_);
  running_ = std::max(0, running_ - 1);
  ++failures_;
  last_failure_ = how;
}

void ChildPool::NoteAnswered() {
  const std::lock_guard lock(mutex_);
  failures_ = 0;
}

absl::Status ChildPool::health() const {
  const std::lock_guard lock(mutex_);
  const bool gone = !options_.restart && first_known_ && running_ == 0;
  if (!gone && failures_ < kFailuresMax) return absl::OkStatus();
  return base::Unavailable(absl::StrCat("the model's process ", gone ? "has ended" : "keeps ending",
                                        " (", last_failure_, ")"));
}

int32_t ChildPool::waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int32_t>(queue_.size());
}

}  // namespace conclave::backends
