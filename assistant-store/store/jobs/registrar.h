// Carries registered models to the workers. Registering asks a worker first and writes what it
// takes up; from then on one replica of the store (the holder of the duty) sees to it that every
// worker that appears or restarts has what is registered, and nothing that was.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/task_pool.h"
#include "mesh/discovery.h"
#include "store/jobs/duty.h"
#include "store/jobs/registrar_plan.h"
#include "store/jobs/worker_models.h"
#include "store/registrations.h"

namespace conclave::store {

struct RegistrarOptions {
  std::string owner;  // of the duty
  std::chrono::milliseconds lease{15'000};
  std::chrono::milliseconds poll_every{1'000};
  // How long a worker may think about a new model. A large file that still loads then counts as
  // taken.
  std::chrono::milliseconds accept_within{20'000};
  std::chrono::milliseconds retry_first{1'000};  // doubles
  std::chrono::milliseconds retry_max{60'000};
  // How often workers are told which model files are named, so that they take the others away.
  std::chrono::milliseconds collect_every{60'000};
};

// Thread-safe.
class Registrar final : public ModelRegistrar {
 public:
  // `workers` null: nothing can be registered, and what is stays where it is.
  Registrar(Registrations& registrations, Database& database, mesh::Discovery* workers,
            const RegistrarOptions& options);
  ~Registrar() override;  // stops
  Registrar(const Registrar&) = delete;
  Registrar& operator=(const Registrar&) = delete;

  void Start();
  // Calls return; the duty is given back. Idempotent.
  void Stop();

  absl::StatusOr<conclave::v1::ModelRegistration> Register(
      const conclave::v1::RegisterModelRequest& request) override;
  absl::StatusOr<conclave::v1::DeleteReply> Unregister(
      const conclave::v1::UnregisterModelRequest& request) override;

 private:
  using Place = std::pair<std::string, std::string>;  // worker, model
  struct Retry {
    uint64_t epoch = 0;
    std::string digest;
    std::chrono::milliseconds pause{0};
    base::SteadyTime not_before{};
  };

  absl::StatusOr<conclave::v1::ModelRegistration> Complete(
      conclave::v1::ModelRegistration registration);
  absl::Status AskWorkers(const conclave::v1::ModelRegistration& registration);
  absl::Status AskWorker(const std::string& worker_id,
                         const conclave::v1::ModelRegistration& registration);

  void Loop();
  void Reconcile();
  void SayYields(const std::vector<RegistrarAction>& plan);
  bool Due(const RegistrarAction& action);  // with the lock
  void Begin(const RegistrarAction& action);
  void Carry(const RegistrarAction& action, const conclave::v1::ModelRegistration& registration);
  void Remember(const RegistrarAction& action, const absl::Status& status);
  void Drop(const conclave::v1::ModelRegistration& gone);
  void CollectIfDue(bool on_duty);
  void Collect();
  void TellNamed(const conclave::v1::CollectBlobsRequest& request);
  void Wake();

  Registrations& registrations_;
  const RegistrarOptions options_;
  const std::unique_ptr<WorkerModels> workers_;         // null without workers
  Duty duty_;                                           // the loop's
  std::set<std::pair<std::string, uint64_t>> yielded_;  // the loop's; model, epoch

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  bool news_ = false;
  std::set<Place> running_;
  std::map<Place, Retry> retries_;
  struct Dropped {
    int64_t registered_unix_ms = 0;
    base::SteadyTime until;  // then it waits for its time like others
  };
  std::map<std::string, Dropped> dropped_;  // files of removed models, by path
  bool collecting_ = false;
  base::SteadyTime next_collect_{};
  std::unique_ptr<base::TaskPool> pool_;
  std::jthread loop_;
};

}  // namespace conclave::store
