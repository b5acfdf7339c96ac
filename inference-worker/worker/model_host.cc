#include "worker/model_host.h"

#include <sys/resource.h>

#include <algorithm>

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

absl::Status CheckNames(const std::string& name, const std::vector<std::string>& aliases) {
  if (!IsModelName(name)) {
    return base::InvalidArgument(absl::StrCat(
        "name: \"", name, "\" must be 1 to 128 letters, digits, dots, dashes, colons or slashes"));
  }
  if (aliases.size() > kAliasesMax) return base::InvalidArgument("aliases: more than 32");
  for (const std::string& alias : aliases) {
    if (!IsModelName(alias)) return base::InvalidArgument("aliases: not a model name");
  }
  return absl::OkStatus();
}

bool Answers(const HostedModel& model, std::string_view name) {
  return model.name == name ||
         std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
}

}  // namespace

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
  if (!spec.provider_id.empty()) {
    return base::NotFound(
        absl::StrCat("provider_id: there is no provider \"", spec.provider_id, "\""));
  }
  auto checked =
      spec.trusted ? CheckModelFile(spec.path) : CheckModelFile(spec.path, options_.folders);
  RETURN_IF_ERROR(checked.status());
  ASSIGN_OR_RETURN(const std::shared_ptr<HostedModel> model, Register(spec, *std::move(checked)));
  const std::lock_guard lock(mutex_);
  std::erase_if(loaders_, [](const Loader& loader) {
    return loader.model->status().state != HostedModel::State::kLoading;
  });
  loaders_.push_back({model, std::jthread([this, model] { Open(model); })});
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
  model->file = std::move(file);
  RETURN_IF_ERROR(CheckNames(model->name, model->aliases));

  const std::lock_guard lock(mutex_);
  if (closed_) return base::Unavailable("draining");
  std::erase_if(models_, [&](const auto& other) {
    return other->name == model->name && other->status().state == HostedModel::State::kFailed;
  });
  std::vector<std::string> names = model->aliases;
  names.push_back(model->name);
  for (const std::string& name : names) {
    if (FindLocked(name) == nullptr) continue;
    return absl::AlreadyExistsError(absl::StrCat("name: a model \"", name, "\" is there already"));
  }
  if (static_cast<int>(models_.size()) >= options_.models_max) {
    return base::ResourceExhausted(
        absl::StrCat("this worker holds ", models_.size(), " models, the limit"));
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
  Settle(*model, backends::OpenBackend(model->backend_kind, spec));
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
  }
  Changed();
}

std::shared_ptr<HostedModel> ModelHost::FindLocked(std::string_view name) const {
  for (const auto& model : models_) {
    if (Answers(*model, name)) return model;
  }
  return nullptr;
}

absl::StatusOr<ModelLease> ModelHost::Acquire(std::string_view name) {
  std::shared_ptr<HostedModel> model;
  {
    const std::lock_guard lock(mutex_);
    model = FindLocked(name);
  }
  if (model == nullptr) {
    return base::WithParam(
        base::WithReason(
            base::NotFound(absl::StrCat("the model \"", std::string(name), "\" does not exist")),
            "model_not_found"),
        "model");
  }
  const HostedModel::Status status = model->status();
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

absl::Status ModelHost::Unload(std::string_view name) {
  std::shared_ptr<HostedModel> model;
  {
    const std::lock_guard lock(mutex_);
    model = FindLocked(name);
    if (model == nullptr) {
      return base::WithReason(
          base::NotFound(absl::StrCat("the model \"", std::string(name), "\" does not exist")),
          "model_not_found");
    }
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
  }
  for (const auto& model : models) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - base::Clock::System().Now());
    Retire(model, std::max(left, milliseconds(0)));
  }
}

}  // namespace conclave::worker
