#include "worker/model_host.h"

#include <sys/resource.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/model_refusals.h"

namespace conclave::worker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDigestPoll{500};
constexpr size_t kAliasesMax = 32;
constexpr int kDerivedMax = 1'024;
constexpr size_t kConfigBytesMax = 64 * 1024;
constexpr size_t kProviderModelBytesMax = 1'024;

absl::Status CheckNames(const std::string& name, const std::vector<std::string>& aliases) {
  if (!IsModelName(name)) {
    return base::InvalidArgument(absl::StrCat(
        "name: \"", name, "\" must be 1 to 200 letters, digits, dots, dashes, colons or slashes"));
  }
  if (aliases.size() > kAliasesMax) return base::InvalidArgument("aliases: more than 32");
  for (const std::string& alias : aliases) {
    if (!IsModelName(alias)) return base::InvalidArgument("aliases: not a model name");
  }
  return absl::OkStatus();
}

// Of a provider other than our own engine, whose models are files.
bool IsProvided(const LoadSpec& spec) {
  return !spec.provider_id.empty() && spec.provider_id != kInlineProviderId;
}

absl::Status CheckProvided(const LoadSpec& spec, const ProviderSet& providers) {
  if (!IsProvided(spec)) {
    const bool empty = spec.config_json.empty() || spec.config_json == "{}";
    return empty ? absl::OkStatus()
                 : base::InvalidArgument("config_json: this worker's own models take none");
  }
  RETURN_IF_ERROR(providers.Find(spec.provider_id).status());
  if (!spec.path.empty()) return base::InvalidArgument("path: a provider's model has none");
  if (!spec.backend.empty()) return base::InvalidArgument("backend: the provider says it");
  if (spec.derived && !spec.derived->base.empty()) {
    return base::InvalidArgument("derived.base: a provider's model is not derived");
  }
  if (spec.config_json.size() > kConfigBytesMax) {
    return base::InvalidArgument("config_json: longer than 64 KiB");
  }
  if (spec.provider_model_id.size() > kProviderModelBytesMax) {
    return base::InvalidArgument("provider_model_id: longer than 1024 bytes");
  }
  return absl::OkStatus();
}

absl::Status NoModel(std::string_view name) {
  return base::WithParam(
      base::WithReason(
          base::NotFound(absl::StrCat("the model \"", std::string(name), "\" does not exist")),
          "model_not_found"),
      "model");
}

bool Answers(const HostedModel& model, std::string_view name) {
  return model.name == name ||
         std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
}

}  // namespace

ModelHost::ModelHost(HostOptions options) : options_(std::move(options)) {
  core_->clock = options_.clock;
  if (options_.digests) {
    digester_ = std::jthread([this](const std::stop_token& stop) { RunDigests(stop); });
  }
  keeper_ = std::jthread([this](const std::stop_token& stop) { RunKeeper(stop); });
}

ModelHost::~ModelHost() { Close(milliseconds(0)); }

void ModelHost::Tell(Told told) {
  for (auto& [done, lease] : told) done(std::move(lease));
}

absl::StatusOr<std::shared_ptr<const HostedModel>> ModelHost::StartLoading(const LoadSpec& spec) {
  RETURN_IF_ERROR(CheckProvided(spec, *options_.providers));
  if (!spec.registration.empty()) {
    const std::lock_guard lock(core_->mutex);
    const Model there = FindLocked(spec.name);
    const bool same =
        there != nullptr && there->name == spec.name && there->registration == spec.registration;
    if (same && there->StatusLocked().state != HostedModel::State::kFailed) return there;
  }
  ModelFile file{.modified_unix = options_.clock->UnixSeconds()};
  const bool derives = spec.derived && !spec.derived->base.empty();
  if (!derives && !IsProvided(spec)) {
    ASSIGN_OR_RETURN(file, spec.trusted ? CheckModelFile(spec.path)
                                        : CheckModelFile(spec.path, options_.folders));
  }
  ASSIGN_OR_RETURN(const Model model, Register(spec, std::move(file)));
  const std::lock_guard lock(core_->mutex);
  StartThreadLocked([this, model] { Begin(model); });
  return model;
}

absl::Status ModelHost::Load(const LoadSpec& spec) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const HostedModel> model, StartLoading(spec));
  uint64_t seen = 0;
  while (model->status().state == HostedModel::State::kLoading) {
    seen = WaitForChange(seen, milliseconds(1'000));
  }
  return model->status().error;
}

absl::Status ModelHost::Add(std::string name, std::unique_ptr<backends::Backend> backend) {
  LoadSpec spec;
  spec.name = std::move(name);
  spec.backend = "added";
  spec.aliases = backend->details().aliases;
  ModelFile file;
  file.modified_unix = options_.clock->UnixSeconds();
  ASSIGN_OR_RETURN(const Model model, Register(spec, std::move(file)));
  Settle(model, std::move(backend));
  return absl::OkStatus();
}

absl::StatusOr<ModelHost::Model> ModelHost::Register(const LoadSpec& spec, ModelFile file) {
  auto model = std::make_shared<HostedModel>(core_);
  model->name = spec.name.empty() ? ModelNameOf(file.path) : spec.name;
  model->aliases = spec.aliases;
  model->backend_kind = spec.backend.empty() ? "native" : spec.backend;
  if (IsProvided(spec)) {
    ASSIGN_OR_RETURN(const backends::Provider* provider,
                     options_.providers->Find(spec.provider_id));
    model->backend_kind = std::string(provider->type());
    model->provider_id = spec.provider_id;
    model->provider_model_id = spec.provider_model_id.empty() ? spec.name : spec.provider_model_id;
    model->config_json = spec.config_json;
  }
  model->registration = spec.registration;
  model->derived = spec.derived;
  model->file = std::move(file);
  RETURN_IF_ERROR(CheckNames(model->name, model->aliases));
  const auto& pinned = options_.pinned;
  model->life_.pinned = model->backend_kind == "added" ||
                        std::find(pinned.begin(), pinned.end(), model->name) != pinned.end();
  model->life_.keep_alive = options_.keep_alive;

  std::vector<Model> gone;  // destroyed after the lock
  const std::lock_guard lock(core_->mutex);
  RETURN_IF_ERROR(RegisterLocked(model, &gone));
  return model;
}

absl::Status ModelHost::RegisterLocked(const Model& model, std::vector<Model>* gone) {
  if (closed_) return base::Unavailable("draining");
  if (!model->base().empty()) {
    const Model base_model = FindLocked(model->base());
    if (base_model == nullptr) {
      return base::WithParam(
          base::NotFound(absl::StrCat("derived.base: there is no model \"", model->base(), "\"")),
          "derived.base");
    }
    if (!base_model->base().empty()) {
      return base::InvalidArgument(absl::StrCat("derived.base: \"", base_model->name,
                                                "\" is derived itself, from \"", base_model->base(),
                                                "\""));
    }
    model->derived->base = base_model->name;
    model->backend_kind = base_model->backend_kind;
    model->root_ = base_model;
  }
  std::erase_if(replaced_, [&](const Model& other) {
    const bool unused = other->life_.users == 0;
    if (unused) gone->push_back(other);
    return unused;
  });
  std::erase_if(models_, [&](const Model& other) {
    const bool failed =
        other->name == model->name && other->StatusLocked().state == HostedModel::State::kFailed;
    if (failed) replaced_.push_back(other);
    return failed;
  });
  std::vector<std::string> names = model->aliases;
  names.push_back(model->name);
  for (const std::string& name : names) {
    if (FindLocked(name) == nullptr) continue;
    return absl::AlreadyExistsError(absl::StrCat("name: a model \"", name, "\" is there already"));
  }
  // Derived models hold no memory to speak of.
  const bool derives = !model->base().empty();
  const auto count = std::count_if(models_.begin(), models_.end(), [derives](const Model& other) {
    return other->base().empty() != derives;
  });
  if (count >= (derives ? kDerivedMax : options_.models_max)) {
    return base::ResourceExhausted(
        absl::StrCat("this worker holds ", count, derives ? " derived" : "", " models, the limit"));
  }
  models_.push_back(model);
  core_->ChangedLocked();
  return absl::OkStatus();
}

ModelHost::Model ModelHost::FindLocked(std::string_view name) const {
  for (const auto& model : models_) {
    if (Answers(*model, name)) return model;
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<const HostedModel>> ModelHost::Find(std::string_view name) const {
  const std::lock_guard lock(core_->mutex);
  std::shared_ptr<const HostedModel> model = FindLocked(name);
  if (model == nullptr) return NoModel(name);
  return model;
}

uint64_t ModelHost::Use(std::string_view name, const UseOptions& options, LeaseCallback done) {
  absl::StatusOr<ModelLease> now = absl::UnknownError("");
  {
    const std::lock_guard lock(core_->mutex);
    const Model model = FindLocked(name);
    std::optional<absl::Status> refusal = model == nullptr ? NoModel(name) : RefusalLocked(*model);
    const bool ready = !refusal && model->status_.state == HostedModel::State::kReady;
    if (!refusal && model->Root().status_.state == HostedModel::State::kUnloaded) {
      const absl::Status started = StartLoadLocked(model->root_ ? model->root_ : model);
      if (!started.ok()) refusal = started;
    }
    if (!refusal && !ready && options.wait_until <= options_.clock->Now()) {
      refusal = LoadingStatus(model->name, model->Root().status_.progress);
    }
    if (!refusal && !ready && waiters_.size() >= options_.waiting_max) {
      refusal = base::WithRetryAfter(
          base::ResourceExhausted("too many requests wait for models to be loaded"),
          milliseconds(5'000));
    }
    if (!refusal && !ready) {
      waiters_.push_back({++last_use_, model, options, std::move(done)});
      core_->KickLocked();
      return last_use_;
    }
    if (refusal) {
      now = *std::move(refusal);
    } else {
      if (options.keep_alive) model->Root().life_.Keep(*options.keep_alive, *core_->clock);
      now = ModelLease(model);
    }
  }
  done(std::move(now));
  return 0;
}

void ModelHost::CancelUse(uint64_t id) {
  Told told;
  {
    const std::lock_guard lock(core_->mutex);
    const auto found = std::find_if(waiters_.begin(), waiters_.end(),
                                    [id](const Waiter& waiter) { return waiter.id == id; });
    if (found == waiters_.end()) return;
    told.emplace_back(std::move(found->done), absl::CancelledError("the caller has gone"));
    waiters_.erase(found);
  }
  Tell(std::move(told));
}

absl::StatusOr<ModelLease> ModelHost::Acquire(std::string_view name) {
  absl::StatusOr<ModelLease> got = absl::UnknownError("");
  Use(name, {}, [&got](absl::StatusOr<ModelLease> lease) { got = std::move(lease); });
  return got;
}

absl::Status ModelHost::CheckUnloadLocked(const HostedModel& model, bool registered_only) const {
  if (registered_only && model.registration.empty()) {
    return base::FailedPrecondition("name: the model is this worker's own");
  }
  if (model.status_.state == HostedModel::State::kLoading) {
    return base::FailedPrecondition("name: the model is still loading");
  }
  if (model.removing_) {
    return base::FailedPrecondition("name: the model is being unloaded already");
  }
  for (const auto& other : models_) {
    if (other->base() != model.name) continue;
    if (other->StatusLocked().state == HostedModel::State::kFailed) continue;
    return base::WithReason(
        base::FailedPrecondition(absl::StrCat("name: \"", other->name, "\" is derived from it")),
        "model_in_use");
  }
  return absl::OkStatus();
}

absl::Status ModelHost::Unload(std::string_view name, bool registered_only) {
  Model model;
  {
    const std::lock_guard lock(core_->mutex);
    model = FindLocked(name);
    if (model == nullptr) {
      return base::WithReason(
          base::NotFound(absl::StrCat("the model \"", std::string(name), "\" does not exist")),
          "model_not_found");
    }
    RETURN_IF_ERROR(CheckUnloadLocked(*model, registered_only));
    model->removing_ = true;
    model->status_.state = HostedModel::State::kUnloading;
    core_->ChangedLocked();
  }
  Retire(model, options_.unload_drain);
  base::LogInfo("model removed", {{"model", model->name}});
  return absl::OkStatus();
}

// Waits for the streams, cancels what is left, and destroys the backend on this thread.
void ModelHost::Retire(const Model& model, milliseconds drain) {
  const auto unused = [&] { return model->life_.users == 0; };
  std::shared_ptr<backends::Backend> backend;
  Told told;
  {
    std::unique_lock lock(core_->mutex);
    model->removing_ = true;
    model->status_.state = HostedModel::State::kUnloading;
    core_->changed.wait_for(lock, drain, unused);
    backend = model->backend_;
  }
  // A cancelled stream leaves within a step, whatever its client does.
  if (backend != nullptr) backend->Drain(milliseconds(0));
  bool empty = false;
  {
    std::unique_lock lock(core_->mutex);
    empty = core_->changed.wait_for(lock, milliseconds(10'000), unused);
    std::erase(models_, model);
    std::erase(digest_queue_, model);
    TellWaitersLocked(model->Root(), &told);
    // Otherwise the model stays in memory as long as that stream.
    if (empty) {
      model->backend_.reset();
      model->life_.bytes = 0;
    }
    core_->ChangedLocked();
  }
  backend.reset();
  Tell(std::move(told));
  if (!empty) base::LogError("a stream outlived its model", {{"model", model->name}});
}

std::vector<std::shared_ptr<const HostedModel>> ModelHost::List() const {
  const std::lock_guard lock(core_->mutex);
  return {models_.begin(), models_.end()};
}

ModelHost::Memory ModelHost::memory() const {
  const std::lock_guard lock(core_->mutex);
  Memory memory{.budget = options_.memory_budget};
  for (const auto& model : models_) {
    const ModelLife& life = model->life_;
    memory.used += life.bytes;
    const bool loaded = model->status_.state == HostedModel::State::kReady;
    if (loaded && !life.pinned && life.users == 0) memory.evictable += life.bytes;
  }
  return memory;
}

uint64_t ModelHost::version() const {
  const std::lock_guard lock(core_->mutex);
  return core_->version;
}

uint64_t ModelHost::WaitForChange(uint64_t seen, milliseconds timeout) const {
  std::unique_lock lock(core_->mutex);
  core_->changed.wait_for(lock, timeout, [&] { return core_->version != seen; });
  return core_->version;
}

// One file at a time and at the lowest priority: nobody waits for a digest.
void ModelHost::RunDigests(const std::stop_token& stop) {
  setpriority(PRIO_PROCESS, 0, 19);
  while (!stop.stop_requested()) {
    Model model;
    {
      std::unique_lock lock(core_->mutex);
      core_->changed.wait_for(lock, stop, kDigestPoll, [&] { return !digest_queue_.empty(); });
      if (digest_queue_.empty()) continue;
      model = std::move(digest_queue_.front());
      digest_queue_.pop_front();
    }
    auto digest = Sha256Digest(model->file.path, stop);
    if (!digest.ok()) continue;
    const std::lock_guard lock(core_->mutex);
    model->status_.digest = *std::move(digest);
    core_->ChangedLocked();
  }
}

void ModelHost::Close(milliseconds drain) {
  std::vector<Loader> loaders;
  Told told;
  {
    const std::lock_guard lock(core_->mutex);
    closed_ = true;
    loaders = std::move(loaders_);
    loaders_.clear();
    for (Waiter& waiter : waiters_) {
      told.emplace_back(std::move(waiter.done), base::Unavailable("draining"));
    }
    waiters_.clear();
    core_->ChangedLocked();
  }
  Tell(std::move(told));
  loaders.clear();  // joins
  for (std::jthread* thread : {&digester_, &keeper_}) {
    if (!thread->joinable()) continue;
    thread->request_stop();
    thread->join();
  }
  const base::SteadyTime deadline = base::Clock::System().Now() + drain;
  std::vector<Model> models;
  {
    const std::lock_guard lock(core_->mutex);
    models = models_;
    models.insert(models.end(), replaced_.begin(), replaced_.end());
    replaced_.clear();
  }
  // What needs another model goes before it.
  std::stable_partition(models.begin(), models.end(),
                        [](const auto& model) { return !model->base().empty(); });
  for (const auto& model : models) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - base::Clock::System().Now());
    Retire(model, std::max(left, milliseconds(0)));
  }
}

}  // namespace conclave::worker
