// The part of a replica that executes runs: takes leases, keeps threads busy with them, renews
// them, expires what nobody settles. Woken by RunSignals, and by a poll for what other replicas
// queued.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "mesh/inference_client.h"
#include "store/db/transaction.h"
#include "store/jobs/lease.h"
#include "store/jobs/run_executor.h"
#include "store/run_signals.h"

namespace conclave::store {

struct RunJobsOptions {
  std::string owner;  // of the leases
  int threads = 16;   // runs at the same time
  std::chrono::milliseconds lease{15'000};
  std::chrono::milliseconds poll_every{1'000};
  RunExecutorOptions executor;
};

// Thread-safe.
class RunJobs final {
 public:
  // `client` null: nothing is executed here, runs are only expired. `metrics` may be null:
  // conclave_runs{status} counts what executors here made of runs, conclave_lease_lost_total.
  RunJobs(Database& database, RunSignals& signals, mesh::InferenceClient* client,
          const RunJobsOptions& options, base::Metrics* metrics);
  ~RunJobs();  // stops
  RunJobs(const RunJobs&) = delete;
  RunJobs& operator=(const RunJobs&) = delete;

  void Start();
  // Takes no more runs; those in hand are written down and given back, so that another replica, or
  // this one after its restart, goes on with them. Idempotent.
  void Stop();
  // As if the process had been killed: nothing is written and no lease given back. For tests.
  void Abandon();

  int num_running() const;

 private:
  struct Running {
    LeaseKey lease;
    RunControl control;
  };

  void Wake();
  void ClaimLoop();
  void RenewLoop();
  void Execute(const std::shared_ptr<Running>& running);
  void Work();
  int Free() const;
  void ApplyStates(const std::vector<LeaseState>& states);
  void CountOutcome(const LeaseKey& lease, const absl::Status& status);
  void Join();

  Database& database_;
  RunSignals& signals_;
  mesh::InferenceClient* const client_;
  const RunJobsOptions options_;
  Leases leases_;
  base::Counter lost_;
  base::Metrics* const metrics_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // claimer: free threads or news; workers: work; all: stop
  bool stop_ = false;
  bool news_ = true;
  std::vector<std::shared_ptr<Running>> waiting_;            // leased, no thread yet
  std::map<std::string, std::shared_ptr<Running>> running_;  // by run id, waiting ones included
  std::vector<std::jthread> threads_;
};

}  // namespace conclave::store
