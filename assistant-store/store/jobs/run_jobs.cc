#include "store/jobs/run_jobs.h"

#include <pthread.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"

namespace conclave::store {
namespace {

using std::chrono::milliseconds;

base::SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

RunJobs::RunJobs(Database& database, RunSignals& signals, mesh::InferenceClient* client,
                 const RunJobsOptions& options, base::Metrics* metrics)
    : database_(database),
      signals_(signals),
      client_(client),
      options_(options),
      leases_(database, options.owner, options.lease),
      metrics_(metrics) {
  if (metrics != nullptr) {
    lost_ = metrics->AddCounter("conclave_lease_lost_total",
                                "Runs that another replica took over while they were executed.");
  }
  signals_.OnQueued([this](const std::string&) { Wake(); });
  signals_.OnCancelling([this](const std::string& run_id) {
    const std::lock_guard lock(mutex_);
    const auto found = running_.find(run_id);
    if (found != running_.end()) found->second->control.Cancel();
  });
}

RunJobs::~RunJobs() { Stop(); }

void RunJobs::Start() {
  threads_.emplace_back([this] { ClaimLoop(); });
  if (client_ == nullptr) return;
  threads_.emplace_back([this] { RenewLoop(); });
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Work(); });
}

void RunJobs::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    for (const auto& [id, running] : running_) running->control.Stop();
  }
  Join();
}

void RunJobs::Abandon() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    for (const auto& [id, running] : running_) running->control.Abandon();
  }
  Join();
}

void RunJobs::Join() {
  changed_.notify_all();
  for (std::jthread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  threads_.clear();
}

int RunJobs::num_running() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(running_.size());
}

void RunJobs::Wake() {
  {
    const std::lock_guard lock(mutex_);
    news_ = true;
  }
  changed_.notify_all();
}

int RunJobs::Free() const { return options_.threads - static_cast<int>(running_.size()); }

void RunJobs::ClaimLoop() {
  pthread_setname_np(pthread_self(), "run-claimer");
  base::SteadyTime next_poll = Now();
  while (true) {
    int want = 0;
    bool expire = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_until(lock, next_poll, [&] { return stop_ || (news_ && Free() > 0); });
      if (stop_) return;
      news_ = false;
      want = client_ == nullptr ? 0 : Free();
    }
    if (Now() >= next_poll) {
      expire = true;
      next_poll = Now() + options_.poll_every;
    }
    if (want > 0) {
      absl::StatusOr<std::vector<LeaseKey>> claimed = leases_.Claim(want);
      if (claimed.ok() && !claimed->empty()) {
        const std::lock_guard lock(mutex_);
        // As many as were asked for: there may be more.
        if (static_cast<int>(claimed->size()) == want) news_ = true;
        for (LeaseKey& lease : *claimed) {
          auto running = std::make_shared<Running>();
          running->lease = std::move(lease);
          if (stop_) running->control.Stop();
          running_[running->lease.run_id] = running;
          waiting_.push_back(std::move(running));
        }
      }
      changed_.notify_all();
    }
    if (!expire) continue;
    const absl::StatusOr<std::vector<std::string>> expired = ExpireRuns(database_);
    if (!expired.ok()) continue;
    for (const std::string& run_id : *expired) signals_.Told(run_id);
  }
}

void RunJobs::RenewLoop() {
  pthread_setname_np(pthread_self(), "run-renewer");
  const milliseconds tick = std::min(milliseconds(1000), options_.lease / 3);
  base::SteadyTime next_extension = Now();
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, tick, [this] { return stop_; })) {
    std::vector<LeaseKey> leases;
    for (const auto& [id, running] : running_) leases.push_back(running->lease);
    if (leases.empty()) continue;
    lock.unlock();
    const bool extend = Now() >= next_extension;
    const absl::StatusOr<std::vector<LeaseState>> states = leases_.Renew(leases, extend);
    if (states.ok()) {
      if (extend) next_extension = Now() + options_.lease / 3;
      ApplyStates(*states);
    }
    lock.lock();
  }
}

void RunJobs::ApplyStates(const std::vector<LeaseState>& states) {
  const std::lock_guard lock(mutex_);
  for (const LeaseState& state : states) {
    const auto found = running_.find(state.run_id);
    if (found == running_.end()) continue;
    if (state.lost) found->second->control.LoseLease();
    if (state.cancelling) found->second->control.Cancel();
  }
}

void RunJobs::Work() {
  pthread_setname_np(pthread_self(), "run-executor");
  while (true) {
    std::shared_ptr<Running> running;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;  // stopped, and nothing left to give back
      running = std::move(waiting_.back());
      waiting_.pop_back();
    }
    Execute(running);
    {
      const std::lock_guard lock(mutex_);
      running_.erase(running->lease.run_id);
      news_ = true;
    }
    changed_.notify_all();
  }
}

void RunJobs::Execute(const std::shared_ptr<Running>& running) {
  const LeaseKey& lease = running->lease;
  RunRecorder recorder(database_, signals_, running->control, lease, {.lease = options_.lease});
  RunExecutor executor(*client_, recorder, running->control, options_.executor);
  const absl::Status status =
      running->control.stopping() ? base::Unavailable("stopping") : executor.Execute();
  CountOutcome(lease, status);
  if (running->control.abandoned() || status.ok() || base::ReasonOf(status) == kLeaseLost) return;
  if (!running->control.stopping()) {
    base::LogError("run given back", {{"run", lease.run_id},
                                      {"code", absl::StatusCodeToString(status.code())},
                                      {"error", base::Std(status.message())}});
  }
  (void)leases_.Release(lease);  // if it fails, the lease runs out
}

void RunJobs::CountOutcome(const LeaseKey& lease, const absl::Status& status) {
  if (base::ReasonOf(status) == kLeaseLost) {
    lost_.Add();
    base::LogWarning("lease lost", {{"run", lease.run_id}});
  }
  if (metrics_ == nullptr || !status.ok()) return;
  const absl::StatusOr<Rows> rows =
      database_.Query("count_run", "SELECT status FROM runs WHERE tenant_id = $1 AND id = $2",
                      {lease.tenant, lease.run_id});
  if (!rows.ok() || rows->empty()) return;
  metrics_
      ->AddCounter("conclave_runs", "Runs carried to a status by this replica.",
                   {{"status", rows->String(0, 0)}})
      .Add();
}

}  // namespace conclave::store
