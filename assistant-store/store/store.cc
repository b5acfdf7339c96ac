#include "store/store.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "mesh/discovery.h"
#include "mesh/inference_client.h"
#include "store/assistants.h"
#include "store/db/migrate.h"
#include "store/db/transaction.h"
#include "store/jobs/registrar.h"
#include "store/jobs/run_jobs.h"
#include "store/messages.h"
#include "store/registrations.h"
#include "store/run_signals.h"
#include "store/runs.h"
#include "store/services/assistants_service.h"
#include "store/services/dispatcher.h"
#include "store/services/registry_service.h"
#include "store/services/run_streams.h"
#include "store/services/runs_service.h"
#include "store/services/threads_service.h"
#include "store/threads.h"

namespace conclave::store {
namespace {

constexpr std::chrono::milliseconds kPingEvery{1000};
// Calls that wait for workers: rare ones.
constexpr int kPatientThreads = 4;
constexpr int kPatientQueueMax = 32;

// conclave_store_tx_seconds{op}: the operations are names in our code, so there are few.
class TransactionTimes final {
 public:
  explicit TransactionTimes(base::Metrics& metrics) : metrics_(metrics) {}
  void Observe(std::string_view op, double seconds) {
    base::Histogram histogram;
    {
      const std::lock_guard lock(mutex_);
      auto found = by_op_.find(op);
      if (found == by_op_.end()) {
        found =
            by_op_
                .emplace(std::string(op),
                         metrics_.AddHistogram(
                             "conclave_store_tx_seconds", "Transactions and queries, by operation.",
                             base::TokenSecondsBuckets(), {{"op", std::string(op)}}))
                .first;
      }
      histogram = found->second;
    }
    histogram.Observe(seconds);
  }

 private:
  base::Metrics& metrics_;
  std::mutex mutex_;
  std::map<std::string, base::Histogram, std::less<>> by_op_;
};

}  // namespace

struct Store::Impl {
  explicit Impl(const StoreOptions& o)
      : options(o),
        times(metrics),
        database({.pool = {.conninfo = o.database, .size = o.database_connections},
                  .observer = [this](std::string_view op, double seconds,
                                     const absl::Status&) { times.Observe(op, seconds); }}),
        assistants(database),
        threads(database),
        messages(database),
        runs(database, signals,
             {.expires_after = std::chrono::duration_cast<std::chrono::seconds>(o.run_expiry)}),
        server(o.server),
        dispatcher({.num_threads = o.call_threads}, &server.gate()),
        streams(runs, dispatcher, signals, {.streams_max = o.listeners_max}),
        assistants_service(assistants, dispatcher),
        threads_service(threads, messages, dispatcher),
        runs_service(runs, dispatcher, streams),
        registrations(database),
        patient({.num_threads = kPatientThreads, .queue_max = kPatientQueueMax}, &server.gate()) {}

  // The workers are known before the first call comes.
  absl::Status OpenServices() {
    RETURN_IF_ERROR(OpenWorkers());
    registrar =
        std::make_unique<Registrar>(registrations, database, workers.get(),
                                    RegistrarOptions{.owner = replica, .lease = options.lease});
    registry_service =
        std::make_unique<RegistryService>(registrations, *registrar, dispatcher, patient);
    server.AddService(&assistants_service);
    server.AddService(&threads_service);
    server.AddService(&runs_service);
    server.AddService(registry_service.get());
    return absl::OkStatus();
  }

  absl::Status OpenWorkers() {
    if (!options.inference_workers.empty()) {
      ASSIGN_OR_RETURN(workers, mesh::Discovery::Start({.targets = options.inference_workers,
                                                        .caller_id = replica,
                                                        .tls = options.mesh_tls,
                                                        .metrics = &metrics}));
      inference = std::make_unique<mesh::InferenceClient>(workers.get(),
                                                          mesh::InferenceClientOptions{}, &metrics);
    }
    return absl::OkStatus();
  }

  // Runs are executed here, and models brought back, when there are workers to ask.
  void StartJobs() {
    jobs = std::make_unique<RunJobs>(
        database, signals, inference.get(),
        RunJobsOptions{.owner = replica,
                       .threads = options.executor_threads,
                       .lease = options.lease,
                       .executor = {.flush_every = options.flush_every,
                                    .worker_patience = options.worker_patience}},
        &metrics);
    jobs->Start();
    registrar->Start();
  }

  void StopJobs() {
    if (registrar) registrar->Stop();
    if (jobs) jobs->Stop();
  }

  // The probe must not block, so the database is asked from a thread of its own.
  void PingDatabase() {
    pthread_setname_np(pthread_self(), "database-ping");
    std::unique_lock lock(ping_mutex);
    while (!ping_stop) {
      lock.unlock();
      const bool ok = database.Ping().ok();
      if (ok != database_ok.exchange(ok)) {
        base::Log(ok ? base::LogLevel::kInfo : base::LogLevel::kWarning,
                  ok ? "database is back" : "database is away");
      }
      lock.lock();
      ping_wake.wait_for(lock, kPingEvery, [this] { return ping_stop; });
    }
  }

  void StopPinging() {
    {
      const std::lock_guard lock(ping_mutex);
      ping_stop = true;
    }
    ping_wake.notify_all();
    if (pinger.joinable()) pinger.join();
  }

  const StoreOptions options;
  base::Metrics metrics;
  TransactionTimes times;
  Database database;
  RunSignals signals;
  Assistants assistants;
  Threads threads;
  Messages messages;
  Runs runs;
  mesh::Server server;
  Dispatcher dispatcher;
  RunStreams streams;
  AssistantsService assistants_service;
  ThreadsService threads_service;
  RunsService runs_service;
  Registrations registrations;
  Dispatcher patient;

  const std::string replica = base::NewId("store-");
  std::unique_ptr<mesh::Discovery> workers;
  std::unique_ptr<mesh::InferenceClient> inference;  // over workers
  std::unique_ptr<RunJobs> jobs;                     // over inference
  std::unique_ptr<Registrar> registrar;              // over workers
  std::unique_ptr<RegistryService> registry_service;

  std::atomic<bool> database_ok{true};
  std::atomic<bool> draining{false};
  std::mutex ping_mutex;
  std::condition_variable ping_wake;
  bool ping_stop = false;
  std::jthread pinger;
};

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() { Stop(); }

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const StoreOptions& options,
                                                   std::chrono::milliseconds database_wait,
                                                   const std::function<bool()>& give_up) {
  auto impl = std::make_unique<Impl>(options);
  const base::SteadyTime deadline = std::chrono::steady_clock::now() + database_wait;
  absl::Status migrated = Migrate(impl->database);
  while (absl::IsUnavailable(migrated) && std::chrono::steady_clock::now() < deadline &&
         !(give_up && give_up())) {
    base::LogWarning("waiting for the database");
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    migrated = Migrate(impl->database);
  }
  RETURN_IF_ERROR(migrated);
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

absl::Status Store::Start() {
  RETURN_IF_ERROR(impl_->OpenServices());
  RETURN_IF_ERROR(impl_->server.Start());
  impl_->StartJobs();
  impl_->pinger = std::jthread([this] { impl_->PingDatabase(); });
  impl_->server.SetReady(true);
  return absl::OkStatus();
}

int Store::port() const { return impl_->server.port(); }

base::Metrics& Store::metrics() { return impl_->metrics; }

std::string Store::NotReadyReason() const {
  if (impl_->draining) return "draining";
  if (!impl_->database_ok) return "the database is away";
  return "";
}

void Store::SetNotReady() {
  impl_->draining = true;
  impl_->server.SetReady(false);
}

void Store::Drain(base::SteadyTime deadline) {
  impl_->StopJobs();
  impl_->server.Drain(deadline);
}

void Store::Stop() {
  impl_->StopJobs();
  impl_->server.Stop();
  impl_->StopPinging();
}

}  // namespace conclave::store
