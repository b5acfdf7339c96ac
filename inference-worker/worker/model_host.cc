#include "worker/model_host.h"

#include <sys/resource.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace conclave::worker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLoadingRetryAfter{2'000};
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

// What is said in advance of a model that has weights, or a provider, of its own.
absl::StatusOr<std::unique_ptr<backends::Backend>> WithSaid(
    const HostedModel& model, absl::StatusOr<std::unique_ptr<backends::Backend>> opened) {
  if (!opened.ok() || !model.derived) return opened;
  const std::string& own = (*opened)->details().revision;
  const std::string revision = own.empty() ? model.status().revision : own;
  return DerivedBackend::Over(*std::move(opened), revision, *model.derived);
}

}  // namespace

const std::string& HostedModel::base() const {
  static const std::string none;
  return derived ? derived->base : none;
}

HostedModel::Status HostedModel::status() const {
  const std::lock_guard lock(mutex_);
  Status status = status_;
  if (status.state != State::kReady) return status;
  status.error = backend_->health();
  if (!status.error.ok()) status.state = State::kFailed;
  return status;
}

std::shared_ptr<const backends::Backend> HostedModel::backend() const {
  const std::lock_guard lock(mutex_);
  return backend_;
}

ModelHost::ModelHost(HostOptions options) : options_(std::move(options)) {
  if (options_.digests) {
    digester_ = std::jthread([this](const std::stop_token& stop) { RunDigests(stop); });
  }
}

ModelHost::~ModelHost() { Close(milliseconds(0)); }

absl::StatusOr<std::shared_ptr<const HostedModel>> ModelHost::StartLoading(const LoadSpec& spec) {
  RETURN_IF_ERROR(CheckProvided(spec, *options_.providers));
  if (!spec.registration.empty()) {
    const std::lock_guard lock(mutex_);
    const std::shared_ptr<HostedModel> there = FindLocked(spec.name);
    const bool same =
        there != nullptr && there->name == spec.name && there->registration == spec.registration;
    if (same && there->status().state != HostedModel::State::kFailed) return there;
  }
  ModelFile file{.modified_unix = options_.clock->UnixSeconds()};
  const bool derives = spec.derived && !spec.derived->base.empty();
  if (!derives && !IsProvided(spec)) {
    ASSIGN_OR_RETURN(file, spec.trusted ? CheckModelFile(spec.path)
                                        : CheckModelFile(spec.path, options_.folders));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<HostedModel> model, Register(spec, std::move(file)));
  std::vector<Loader> finished;  // joined after the lock, which their last steps may want
  const std::lock_guard lock(mutex_);
  const auto loading = std::partition(loaders_.begin(), loaders_.end(), [](const Loader& loader) {
    return loader.model->status().state == HostedModel::State::kLoading;
  });
  finished.assign(std::make_move_iterator(loading), std::make_move_iterator(loaders_.end()));
  loaders_.erase(loading, loaders_.end());
  loaders_.push_back({model, std::jthread([this, model] {
                        if (!model->base().empty()) {
                          Derive(model);
                        } else if (!model->provider_id.empty()) {
                          OpenProvided(model);
                        } else {
                          Open(model);
                        }
                      })});
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
  ASSIGN_OR_RETURN(const std::shared_ptr<HostedModel> model, Register(spec, std::move(file)));
  Settle(*model, std::move(backend));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<HostedModel>> ModelHost::Register(const LoadSpec& spec,
                                                                 ModelFile file) {
  auto model = std::make_shared<HostedModel>();
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

  std::vector<std::shared_ptr<HostedModel>> gone;  // destroyed after the lock
  const std::lock_guard lock(mutex_);
  if (closed_) return base::Unavailable("draining");
  if (!model->base().empty()) {
    const std::shared_ptr<HostedModel> base_model = FindLocked(model->base());
    if (base_model == nullptr) {
      return base::WithParam(base::NotFound(absl::StrCat("derived.base: there is no model \"",
                                                         spec.derived->base, "\"")),
                             "derived.base");
    }
    if (!base_model->base().empty()) {
      return base::InvalidArgument(absl::StrCat("derived.base: \"", base_model->name,
                                                "\" is derived itself, from \"", base_model->base(),
                                                "\""));
    }
    model->derived->base = base_model->name;
    model->backend_kind = base_model->backend_kind;
  }
  std::erase_if(replaced_, [&](const auto& other) {
    const bool empty = other->gate_.inside() == 0;
    if (empty) gone.push_back(other);
    return empty;
  });
  std::erase_if(models_, [&](const auto& other) {
    const bool failed =
        other->name == model->name && other->status().state == HostedModel::State::kFailed;
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
  const auto count = std::count_if(models_.begin(), models_.end(), [derives](const auto& other) {
    return other->base().empty() != derives;
  });
  if (count >= (derives ? kDerivedMax : options_.models_max)) {
    return base::ResourceExhausted(
        absl::StrCat("this worker holds ", count, derives ? " derived" : "", " models, the limit"));
  }
  models_.push_back(model);
  ++version_;
  changed_.notify_all();
  return model;
}

void ModelHost::Open(const std::shared_ptr<HostedModel>& model) {
  const base::SteadyTime start = base::Clock::System().Now();
  auto fingerprint = Fingerprint(model->file.path);
  if (!fingerprint.ok()) return Settle(*model, fingerprint.status());
  backends::BackendSpec spec;
  spec.name = model->name;
  spec.path = model->file.path;
  spec.engine = options_.engine;
  spec.on_progress = [this, raw = model.get()](double progress) {
    {
      const std::lock_guard lock(raw->mutex_);
      raw->status_.progress = std::clamp(progress, 0.0, 1.0);
    }
    Changed();
  };
  {
    const std::lock_guard lock(model->mutex_);
    model->status_.revision = *std::move(fingerprint);
    // Other numerics, other outputs: no stream goes on from one to the other.
    if (spec.engine.numerics == "fast") model->status_.revision += "+fast";
  }
  Settle(*model, WithSaid(*model, backends::OpenBackend(model->backend_kind, spec)));
  const HostedModel::Status status = model->status();
  const double ms = base::MillisBetween(start, base::Clock::System().Now());
  if (!status.error.ok()) {
    base::LogError("model failed to load",
                   {{"model", model->name}, {"error", status.error.ToString()}});
    return;
  }
  const std::shared_ptr<const backends::Backend> backend = model->backend();
  if (backend == nullptr) return;  // unloaded meanwhile
  const backends::ModelDetails& details = backend->details();
  base::LogInfo("model loaded", {{"model", model->name},
                                 {"backend", model->backend_kind},
                                 {"revision", status.revision},
                                 {"weight_bytes", details.size_bytes},
                                 {"kv_bytes", details.memory_bytes - details.size_bytes},
                                 {"kv_bytes_per_token", details.kv_bytes_per_token},
                                 {"context_length", details.context_length},
                                 {"ms", ms}});
  const std::lock_guard lock(mutex_);
  if (options_.digests) digest_queue_.push_back(model);
}

void ModelHost::OpenProvided(const std::shared_ptr<HostedModel>& model) {
  const absl::StatusOr<backends::Provider*> provider = options_.providers->Find(model->provider_id);
  if (!provider.ok()) return Settle(*model, provider.status());
  auto opened = (*provider)->Open({.name = model->name,
                                   .model_id = model->provider_model_id,
                                   .config_json = model->config_json,
                                   .log = model->log});
  Settle(*model, WithSaid(*model, std::move(opened)));
  const HostedModel::Status status = model->status();
  if (status.error.ok()) {
    base::LogInfo("model opened", {{"model", model->name}, {"provider", model->provider_id}});
  } else {
    base::LogError("model could not be opened", {{"model", model->name},
                                                 {"provider", model->provider_id},
                                                 {"error", status.error.ToString()}});
  }
}

// The base once it is ready; the error it failed with, or that it has gone.
absl::StatusOr<ModelLease> ModelHost::AcquireBase(const std::string& name) {
  uint64_t seen = 0;
  while (true) {
    absl::StatusOr<ModelLease> lease = Acquire(name);
    if (!absl::IsUnavailable(lease.status())) return lease;
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return base::Unavailable("draining");
    }
    seen = WaitForChange(seen, milliseconds(1'000));
  }
}

void ModelHost::Derive(const std::shared_ptr<HostedModel>& model) {
  absl::StatusOr<ModelLease> base_lease = AcquireBase(model->base());
  if (!base_lease.ok()) return Settle(*model, base_lease.status());
  // What the base itself says in advance is in our spec already: the store has seen to it.
  auto* said_more = dynamic_cast<DerivedBackend*>(&base_lease->backend());
  backends::Backend& base_backend = said_more ? said_more->under() : base_lease->backend();
  const std::string base_revision = base_lease->model().status().revision;
  auto hold = std::make_shared<ModelLease>(*std::move(base_lease));
  absl::StatusOr<std::unique_ptr<DerivedBackend>> opened =
      DerivedBackend::Open(base_backend, base_revision, std::move(hold), *model->derived);
  if (opened.ok()) {
    const std::lock_guard lock(model->mutex_);
    model->status_.digest = (*opened)->digest();
  }
  Settle(*model, std::move(opened));
  const HostedModel::Status status = model->status();
  if (status.error.ok()) {
    base::LogInfo("model derived", {{"model", model->name}, {"base", model->base()}});
  } else {
    base::LogError("model could not be derived",
                   {{"model", model->name}, {"error", status.error.ToString()}});
  }
}

void ModelHost::Settle(HostedModel& model,
                       absl::StatusOr<std::unique_ptr<backends::Backend>> opened) {
  {
    const std::lock_guard lock(model.mutex_);
    if (opened.ok()) {
      model.backend_ = *std::move(opened);
      const std::string& own = model.backend_->details().revision;
      if (!own.empty()) model.status_.revision = own;
      model.status_.progress = 1;
      model.status_.state = HostedModel::State::kReady;
    } else {
      model.status_.error = opened.status();
      model.status_.state = HostedModel::State::kFailed;
    }
    if (model.status_.error.ok()) {
      model.log->Add(base::LogLevel::kInfo, "loaded", {{"backend", model.backend_kind}});
    } else {
      model.log->Add(base::LogLevel::kError, "could not be loaded",
                     {{"error", model.status_.error.ToString()}});
    }
  }
  Changed();
}

std::shared_ptr<HostedModel> ModelHost::FindLocked(std::string_view name) const {
  for (const auto& model : models_) {
    if (Answers(*model, name)) return model;
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<const HostedModel>> ModelHost::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const HostedModel> model = FindLocked(name);
  if (model == nullptr) return NoModel(name);
  return model;
}

absl::StatusOr<ModelLease> ModelHost::Acquire(std::string_view name) {
  std::shared_ptr<HostedModel> model;
  {
    const std::lock_guard lock(mutex_);
    model = FindLocked(name);
  }
  if (model == nullptr) return NoModel(name);
  const HostedModel::Status status = model->status();
  const bool loaded = model->backend() != nullptr;
  if (status.state == HostedModel::State::kFailed && loaded && absl::IsUnavailable(status.error)) {
    return base::WithRetryAfter(
        base::WithReason(
            base::Annotate(status.error, absl::StrCat("the model \"", model->name, "\" is away")),
            "model_unreachable"),
        kLoadingRetryAfter);
  }
  if (status.state == HostedModel::State::kFailed) {
    return base::WithReason(
        base::FailedPrecondition(absl::StrCat(
            "the model \"", model->name, "\" has failed: ", std::string(status.error.message()))),
        "model_failed");
  }
  if (status.state == HostedModel::State::kReady) {
    if (auto pass = model->gate_.Enter()) {
      backends::Backend* backend = model->backend_.get();
      return ModelLease(std::move(model), backend, *std::move(pass));
    }
  }
  return base::WithRetryAfter(base::WithReason(base::Unavailable(absl::StrCat(
                                                   "the model \"", model->name, "\" is loading (",
                                                   static_cast<int>(status.progress * 100), " %)")),
                                               "model_loading"),
                              kLoadingRetryAfter);
}

absl::Status ModelHost::CheckUnloadLocked(const HostedModel& model, bool registered_only) const {
  if (registered_only && model.registration.empty()) {
    return base::FailedPrecondition("name: the model is this worker's own");
  }
  for (const auto& other : models_) {
    if (other->base() != model.name) continue;
    if (other->status().state == HostedModel::State::kFailed) continue;
    return base::WithReason(
        base::FailedPrecondition(absl::StrCat("name: \"", other->name, "\" is derived from it")),
        "model_in_use");
  }
  return absl::OkStatus();
}

absl::Status ModelHost::Unload(std::string_view name, bool registered_only) {
  std::shared_ptr<HostedModel> model;
  {
    const std::lock_guard lock(mutex_);
    model = FindLocked(name);
    if (model == nullptr) {
      return base::WithReason(
          base::NotFound(absl::StrCat("the model \"", std::string(name), "\" does not exist")),
          "model_not_found");
    }
    RETURN_IF_ERROR(CheckUnloadLocked(*model, registered_only));
    const std::lock_guard model_lock(model->mutex_);
    if (model->status_.state == HostedModel::State::kLoading) {
      return base::FailedPrecondition("name: the model is still loading");
    }
    if (model->status_.state == HostedModel::State::kUnloading) {
      return base::FailedPrecondition("name: the model is being unloaded already");
    }
    model->status_.state = HostedModel::State::kUnloading;
  }
  Changed();
  Retire(model, options_.unload_drain);
  base::LogInfo("model unloaded", {{"model", model->name}});
  return absl::OkStatus();
}

// Waits for the streams, cancels what is left, and destroys the backend on this thread.
void ModelHost::Retire(const std::shared_ptr<HostedModel>& model, milliseconds drain) {
  model->gate_.Close();
  model->gate_.WaitUntilEmpty(drain);
  std::shared_ptr<backends::Backend> backend;
  {
    const std::lock_guard lock(model->mutex_);
    backend = model->backend_;
  }
  // A cancelled stream leaves within a step, whatever its client does.
  if (backend != nullptr) backend->Drain(milliseconds(0));
  const bool empty = model->gate_.WaitUntilEmpty(milliseconds(10'000));
  {
    const std::lock_guard lock(mutex_);
    std::erase(models_, model);
    std::erase(digest_queue_, model);
  }
  Changed();
  if (!empty) {
    base::LogError("a stream outlived its model", {{"model", model->name}});
    return;  // the model stays in memory as long as that stream
  }
  const std::lock_guard lock(model->mutex_);
  model->backend_.reset();
}

std::vector<std::shared_ptr<const HostedModel>> ModelHost::List() const {
  const std::lock_guard lock(mutex_);
  return {models_.begin(), models_.end()};
}

uint64_t ModelHost::version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

uint64_t ModelHost::WaitForChange(uint64_t seen, milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return version_ != seen; });
  return version_;
}

void ModelHost::Changed() {
  {
    const std::lock_guard lock(mutex_);
    ++version_;
  }
  changed_.notify_all();
}

// One file at a time and at the lowest priority: nobody waits for a digest.
void ModelHost::RunDigests(const std::stop_token& stop) {
  setpriority(PRIO_PROCESS, 0, 19);
  while (!stop.stop_requested()) {
    std::shared_ptr<HostedModel> model;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, kDigestPoll, [&] { return !digest_queue_.empty(); });
      if (digest_queue_.empty()) continue;
      model = std::move(digest_queue_.front());
      digest_queue_.pop_front();
    }
    auto digest = Sha256Digest(model->file.path, stop);
    if (!digest.ok()) continue;
    {
      const std::lock_guard lock(model->mutex_);
      model->status_.digest = *std::move(digest);
    }
    Changed();
  }
}

void ModelHost::Close(milliseconds drain) {
  std::vector<Loader> loaders;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    loaders = std::move(loaders_);
    loaders_.clear();
  }
  loaders.clear();  // joins
  if (digester_.joinable()) {
    digester_.request_stop();
    digester_.join();
  }
  const base::SteadyTime deadline = base::Clock::System().Now() + drain;
  std::vector<std::shared_ptr<HostedModel>> models;
  {
    const std::lock_guard lock(mutex_);
    models = models_;
    models.insert(models.end(), replaced_.begin(), replaced_.end());
    replaced_.clear();
  }
  // What holds another model goes before it.
  std::stable_partition(models.begin(), models.end(),
                        [](const auto& model) { return !model->base().empty(); });
  for (const auto& model : models) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - base::Clock::System().Now());
    Retire(model, std::max(left, milliseconds(0)));
  }
}

}  // namespace conclave::worker
