#include "store/jobs/registrar.h"

#include <pthread.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/strings.h"
#include "store/registration_request.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

constexpr int kThreads = 4;
constexpr size_t kQueueMax = 256;
// A worker that unloads lets streams end first; nobody waits for that.
constexpr milliseconds kUnloadWait{2'000};
// A worker's report takes no longer.
constexpr milliseconds kHearsay{1'000};

constexpr milliseconds kCollectWait{30'000};
// For the streams of a removed model to end.
constexpr std::chrono::minutes kDroppedFor{10};

base::SteadyTime Now() { return std::chrono::steady_clock::now(); }

absl::Status NoWorker() {
  return base::WithRetryAfter(
      base::WithReason(base::Unavailable("no worker is available to take the model up"),
                       "no_worker"),
      std::chrono::seconds(2));
}

// A name that a worker has by its own configuration cannot be registered.
absl::Status CheckFree(const mesh::Fleet& fleet, const pb::ModelRegistration& registration) {
  std::vector<std::string> names = {registration.name()};
  names.insert(names.end(), registration.aliases().begin(), registration.aliases().end());
  for (const auto& worker : fleet.workers) {
    for (const std::string& name : names) {
      const pb::ModelStatus* model = worker->FindModel(name);
      if (model == nullptr || !model->registration().empty()) continue;
      return base::WithReason(absl::AlreadyExistsError(absl::StrCat("a worker serves \"", name,
                                                                    "\" by its own configuration")),
                              "model_exists");
    }
  }
  return absl::OkStatus();
}

}  // namespace

Registrar::Registrar(Registrations& registrations, Database& database, mesh::Discovery* workers,
                     const RegistrarOptions& options)
    : registrations_(registrations),
      options_(options),
      workers_(workers == nullptr ? nullptr : std::make_unique<WorkerModels>(workers)),
      duty_(database, "registrar", options.owner, options.lease) {}

Registrar::~Registrar() { Stop(); }

void Registrar::Start() {
  if (workers_ == nullptr) return;
  pool_ = std::make_unique<base::TaskPool>(kThreads, kQueueMax);
  loop_ = std::jthread([this] { Loop(); });
}

void Registrar::Stop() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stop_, true)) return;
  }
  changed_.notify_all();
  if (workers_ != nullptr) workers_->Stop();
  if (loop_.joinable()) loop_.join();
  pool_.reset();  // joins
}

absl::StatusOr<pb::ModelRegistration> Registrar::Register(const pb::RegisterModelRequest& request) {
  if (workers_ == nullptr) return NoWorker();
  RETURN_IF_ERROR(CheckRegistration(request.registration()));
  ASSIGN_OR_RETURN(const pb::ModelRegistration registration, Complete(request.registration()));
  // Nobody else may take it for dead while a worker is asked after the other.
  const milliseconds patience =
      options_.accept_within * (1 + static_cast<int>(workers_->fleet()->workers.size()));
  ASSIGN_OR_RETURN(std::optional<pb::ModelRegistration> there,
                   registrations_.Begin(registration, request.replace(), patience));
  if (there) return *std::move(there);
  const absl::Status answer = AskWorkers(registration);
  absl::StatusOr<pb::ModelRegistration> settled = registrations_.Settle(registration, answer.ok());
  Wake();
  RETURN_IF_ERROR(answer);
  if (settled.ok()) base::LogInfo("model registered", {{"model", registration.name()}});
  return settled;
}

// What was inherited is written out, and the whole gets its digest.
absl::StatusOr<pb::ModelRegistration> Registrar::Complete(pb::ModelRegistration registration) {
  registration.clear_created_at();
  if (registration.has_derived() && !registration.derived().base().empty()) {
    pb::GetRegistrationRequest of_base;
    of_base.set_name(registration.derived().base());
    const absl::StatusOr<pb::ModelRegistration> base = registrations_.Get(of_base);
    if (!base.ok() && !absl::IsNotFound(base.status())) return base.status();
    if (base.ok()) Inherit(*base, registration.mutable_derived());
    if (registration.derived().base() == registration.name()) {
      return InvalidField("derived.base", "invalid_value", "a model cannot be made from itself.");
    }
  }
  registration.set_digest(DigestOf(registration));
  return registration;
}

// The first worker that takes it decides. Else the first refusal is the answer.
absl::Status Registrar::AskWorkers(const pb::ModelRegistration& registration) {
  const std::shared_ptr<const mesh::Fleet> fleet = workers_->fleet();
  RETURN_IF_ERROR(CheckFree(*fleet, registration));
  absl::Status refusal = NoWorker();
  bool first = true;
  for (const auto& worker : fleet->workers) {
    if (!worker->usable()) continue;
    const absl::Status answer = AskWorker(worker->worker_id, registration);
    if (answer.ok()) return answer;
    if (std::exchange(first, false)) refusal = answer;
  }
  return refusal;
}

absl::Status Registrar::AskWorker(const std::string& worker_id,
                                  const pb::ModelRegistration& registration) {
  const std::string& name = registration.name();
  // What is replaced, or what an attempt left behind that nobody settled.
  RETURN_IF_ERROR(workers_->Unload(worker_id, name, options_.accept_within));
  absl::StatusOr<pb::ModelStatus> state =
      workers_->Load(worker_id, registration, options_.accept_within);
  if (state.ok()) return absl::OkStatus();
  (void)workers_->Unload(worker_id, name, kUnloadWait);
  return state.status();
}

absl::StatusOr<pb::DeleteReply> Registrar::Unregister(const pb::UnregisterModelRequest& request) {
  ASSIGN_OR_RETURN(const pb::ModelRegistration gone, registrations_.Delete(request.name()));
  base::LogInfo("model unregistered", {{"model", gone.name()}});
  if (workers_ != nullptr) {
    // So that who asks next does not find it; a worker that we miss here is the duty's.
    for (const auto& worker : workers_->fleet()->workers) {
      const pb::ModelStatus* model = worker->FindModel(gone.name());
      if (model == nullptr || model->registration() != gone.digest()) continue;
      (void)workers_->Unload(worker->worker_id, gone.name(), kUnloadWait);
    }
    Drop(gone);
  }
  Wake();
  pb::DeleteReply reply;
  reply.set_id(gone.name());
  return reply;
}

// Its file need not wait for its time.
void Registrar::Drop(const pb::ModelRegistration& gone) {
  if (gone.path().empty()) return;
  const std::lock_guard lock(mutex_);
  // The row's time is in whole seconds.
  dropped_[gone.path()] = {.registered_unix_ms = (gone.created_at() + 1) * 1000,
                           .until = Now() + kDroppedFor};
}

void Registrar::Wake() {
  {
    const std::lock_guard lock(mutex_);
    news_ = true;
  }
  changed_.notify_all();
}

void Registrar::Loop() {
  pthread_setname_np(pthread_self(), "registrar");
  while (true) {
    const absl::StatusOr<bool> ours = duty_.Hold();
    const bool on_duty = ours.ok() && *ours;
    if (on_duty) Reconcile();
    CollectIfDue(on_duty);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, options_.poll_every, [this] { return stop_ || news_; });
    if (stop_) break;
    news_ = false;
  }
  (void)duty_.Release();  // if it fails, the lease runs out
}

void Registrar::Reconcile() {
  const absl::StatusOr<std::vector<Registrations::Desired>> desired = registrations_.All();
  if (!desired.ok()) return;
  const std::vector<RegistrarAction> plan = PlanFor(*workers_->fleet(), *desired);
  SayYields(plan);
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(retries_, [&](const auto& retry) {
      return std::none_of(plan.begin(), plan.end(), [&](const RegistrarAction& action) {
        return Place{action.worker_id, action.name} == retry.first;
      });
    });
  }
  for (const RegistrarAction& action : plan) {
    if (action.kind != RegistrarAction::Kind::kYield) Begin(action);
  }
}

// Whoever is on duty, now and then; besides, whoever has removed a model.
void Registrar::CollectIfDue(bool on_duty) {
  const std::lock_guard lock(mutex_);
  std::erase_if(dropped_, [](const auto& one) { return one.second.until < Now(); });
  const bool due = !dropped_.empty() || (on_duty && Now() >= next_collect_);
  if (!due || collecting_ || stop_) return;
  next_collect_ = Now() + options_.collect_every;
  collecting_ = pool_->Post([this] {
    Collect();
    const std::lock_guard done(mutex_);
    collecting_ = false;
  });
}

// Not while a model is being registered: what it is made from is in no row yet.
void Registrar::Collect() {
  pb::CollectBlobsRequest request;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [path, one] : dropped_) {
      pb::DroppedBlob* blob = request.add_dropped();
      blob->set_path(path);
      blob->set_registered_unix_ms(one.registered_unix_ms);
    }
  }
  // After the removals: a model that was registered since, from the same file, is among them.
  const absl::StatusOr<std::vector<Registrations::Desired>> desired = registrations_.All();
  if (!desired.ok()) return;
  for (const Registrations::Desired& one : *desired) {
    if (one.busy) return;
    if (!one.registration.path().empty()) request.add_named(one.registration.path());
  }
  TellNamed(request);
}

void Registrar::TellNamed(const pb::CollectBlobsRequest& request) {
  std::set<std::string> in_use;
  for (const auto& worker : workers_->fleet()->workers) {
    if (!worker->usable()) continue;
    const absl::StatusOr<pb::CollectBlobsReply> reply =
        workers_->CollectBlobs(worker->worker_id, request, kCollectWait);
    if (reply.ok()) in_use.insert(reply->in_use().begin(), reply->in_use().end());
  }
  const std::lock_guard lock(mutex_);
  for (const pb::DroppedBlob& blob : request.dropped()) {
    if (!in_use.contains(blob.path())) dropped_.erase(blob.path());
  }
}

// Once for each model and process of a worker.
void Registrar::SayYields(const std::vector<RegistrarAction>& plan) {
  std::set<std::pair<std::string, uint64_t>> now;
  for (const RegistrarAction& action : plan) {
    if (action.kind != RegistrarAction::Kind::kYield) continue;
    now.insert({action.name, action.epoch});
    if (yielded_.contains({action.name, action.epoch})) continue;
    base::LogWarning("a worker serves a registered name by its own configuration, which wins",
                     {{"model", action.name}, {"worker", action.worker_id}});
  }
  yielded_ = std::move(now);
}

bool Registrar::Due(const RegistrarAction& action) {
  const Place place{action.worker_id, action.name};
  if (running_.contains(place)) return false;
  const auto found = retries_.find(place);
  if (found == retries_.end()) return true;
  const Retry& retry = found->second;
  const bool same = retry.epoch == action.epoch && retry.digest == action.digest;
  return !same || Now() >= retry.not_before;
}

void Registrar::Begin(const RegistrarAction& action) {
  {
    const std::lock_guard lock(mutex_);
    if (stop_ || !Due(action)) return;
    running_.insert({action.worker_id, action.name});
  }
  pb::ModelRegistration registration;
  if (action.registration != nullptr) registration = *action.registration;
  const bool posted = pool_->Post([this, action, registration] { Carry(action, registration); });
  if (posted) return;
  const std::lock_guard lock(mutex_);
  running_.erase({action.worker_id, action.name});
}

void Registrar::Carry(const RegistrarAction& action, const pb::ModelRegistration& registration) {
  absl::Status status;
  if (action.kind == RegistrarAction::Kind::kLoad) {
    status = workers_->Load(action.worker_id, registration, options_.accept_within).status();
    if (status.ok()) {
      base::LogInfo("registered model brought to a worker",
                    {{"model", action.name}, {"worker", action.worker_id}});
    }
  } else {
    status = workers_->Unload(action.worker_id, action.name, options_.accept_within);
  }
  Remember(action, status);
  Wake();
}

void Registrar::Remember(const RegistrarAction& action, const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  const Place place{action.worker_id, action.name};
  running_.erase(place);
  if (stop_) return;
  Retry& retry = retries_[place];
  if (status.ok()) {
    // Until the worker's next word has come, the plan would ask for the same again.
    retry = {.epoch = action.epoch, .digest = action.digest, .not_before = Now() + kHearsay};
    return;
  }
  const bool again =
      retry.epoch == action.epoch && retry.digest == action.digest && retry.pause.count() > 0;
  retry.epoch = action.epoch;
  retry.digest = action.digest;
  retry.pause = again ? std::min(retry.pause * 2, options_.retry_max) : options_.retry_first;
  retry.not_before = Now() + retry.pause;
  const bool load = action.kind == RegistrarAction::Kind::kLoad;
  base::LogWarning(
      load ? "a worker does not take a registered model up" : "a worker does not let go of a model",
      {{"model", action.name},
       {"worker", action.worker_id},
       {"error", status.ToString()},
       {"retry_ms", static_cast<int64_t>(retry.pause.count())}});
}

}  // namespace conclave::store
