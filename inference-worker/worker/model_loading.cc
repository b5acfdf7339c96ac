// How a model comes into memory: what a ModelHost's loader threads do.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/model_host.h"

namespace conclave::worker {
namespace {

using State = HostedModel::State;
using std::chrono::milliseconds;

// What is said in advance of a model that has weights, or a provider, of its own.
absl::StatusOr<std::unique_ptr<backends::Backend>> WithSaid(
    const HostedModel& model, absl::StatusOr<std::unique_ptr<backends::Backend>> opened) {
  if (!opened.ok() || !model.derived) return opened;
  const std::string& own = (*opened)->details().revision;
  const std::string revision = own.empty() ? model.status().revision : own;
  return DerivedBackend::Over(*std::move(opened), revision, *model.derived);
}

void LogOutcome(const HostedModel& model, double ms) {
  const HostedModel::Status status = model.status();
  const auto details = model.details();
  if (!status.error.ok()) {
    return base::LogError("model failed to load",
                          {{"model", model.name}, {"error", status.error.ToString()}});
  }
  if (details == nullptr) return;
  base::LogInfo("model loaded", {{"model", model.name},
                                 {"backend", model.backend_kind},
                                 {"provider", model.provider_id},
                                 {"base", model.base()},
                                 {"revision", status.revision},
                                 {"weight_bytes", details->size_bytes},
                                 {"memory_bytes", details->memory_bytes},
                                 {"kv_bytes_per_token", details->kv_bytes_per_token},
                                 {"context_length", details->context_length},
                                 {"ms", ms}});
}

}  // namespace

void ModelHost::StartThreadLocked(absl::AnyInvocable<void()> work) {
  std::erase_if(loaders_, [](const Loader& loader) { return loader.done->load(); });
  auto done = std::make_shared<std::atomic<bool>>(false);
  loaders_.push_back({done, std::jthread([done, work = std::move(work)]() mutable {
                        work();
                        work = nullptr;  // what it held goes before it counts as done
                        done->store(true);
                      })});
}

// A model that has just become known.
void ModelHost::Begin(const Model& model) {
  if (model->root_ != nullptr) return Derive(model);
  // What a provider serves is its own business: nothing can be known before, and it takes no room.
  if (!model->provider_id.empty()) return OpenAndSettle(model);
  absl::Status refused = Outline(model);
  bool load = false;
  std::vector<Model> going;
  Told told;
  if (refused.ok()) {
    std::unique_lock lock(core_->mutex);
    WaitForEarlierLocked(*model, lock);
    const bool asked = std::any_of(waiters_.begin(), waiters_.end(), [&](const Waiter& waiter) {
      return &waiter.model->Root() == model.get();
    });
    absl::StatusOr<std::vector<Model>> room = MakeRoomLocked(*model, asked);
    load = room.ok() && (asked || options_.preload);
    model->decided_ = true;
    if (load) {
      going = *std::move(room);
      model->life_.bytes = model->details_->memory_bytes;
      for (const Model& other : going) MarkUnloadingLocked(other);
      core_->ChangedLocked();
    } else if (absl::IsFailedPrecondition(room.status())) {
      refused = room.status();
    } else {
      model->status_.state = State::kUnloaded;
      if (asked) model->status_.error = room.status();
      TellWaitersLocked(*model, &told);
      core_->ChangedLocked();
    }
  }
  Tell(std::move(told));
  if (!refused.ok()) {
    Settle(model, refused);
    return LogOutcome(*model, 0);
  }
  if (!load) return base::LogInfo("model known", {{"model", model->name}});
  for (const Model& other : going) FinishUnload(other);
  WaitForUnloads();
  OpenAndSettle(model);
}

// Room is given in the order in which models have become known, whichever file is read first.
void ModelHost::WaitForEarlierLocked(const HostedModel& model, std::unique_lock<std::mutex>& lock) {
  while (!closed_) {
    const auto first = std::find_if(models_.begin(), models_.end(), [&](const Model& other) {
      return other.get() == &model ||
             (!other->decided_ && other->root_ == nullptr && other->provider_id.empty());
    });
    if (first == models_.end() || first->get() == &model) return;
    core_->changed.wait_for(lock, milliseconds(1'000));
  }
}

// What the header of its file says.
absl::Status ModelHost::Outline(const Model& model) {
  ASSIGN_OR_RETURN(std::string fingerprint, Fingerprint(model->file.path));
  ASSIGN_OR_RETURN(backends::Outline outline,
                   backends::OutlineModel(model->backend_kind, SpecOf(model)));
  // Other numerics, other outputs: no stream goes on from one to the other.
  if (outline.engine.numerics == "fast") fingerprint += "+fast";
  const std::lock_guard lock(core_->mutex);
  const std::string& own = outline.details.revision;
  model->status_.revision = own.empty() ? std::move(fingerprint) : own;
  if (model->derived) DerivedBackend::Describe(*model->derived, &outline.details);
  model->details_ = std::make_shared<backends::ModelDetails>(std::move(outline.details));
  model->engine_ = std::move(outline.engine);
  if (options_.digests && model->status_.digest.empty()) digest_queue_.push_back(model);
  core_->ChangedLocked();
  return absl::OkStatus();
}

backends::BackendSpec ModelHost::SpecOf(const Model& model) {
  backends::BackendSpec spec;
  spec.name = model->name;
  spec.path = model->file.path;
  spec.engine = options_.engine;
  spec.memory_budget = options_.memory_budget;
  spec.on_progress = [this, raw = model.get()](double progress) {
    const std::lock_guard lock(core_->mutex);
    raw->status_.progress = std::clamp(progress, 0.0, 1.0);
    core_->ChangedLocked();
  };
  return spec;
}

ModelHost::OpenedBackend ModelHost::Open(const Model& model) {
  // The file may have become another one since it was looked at last.
  RETURN_IF_ERROR(Outline(model));
  backends::BackendSpec spec = SpecOf(model);
  {
    const std::lock_guard lock(core_->mutex);
    spec.engine = *model->engine_;
  }
  return options_.open(model->backend_kind, spec);
}

ModelHost::OpenedBackend ModelHost::OpenProvided(const HostedModel& model) {
  ASSIGN_OR_RETURN(backends::Provider * provider, options_.providers->Find(model.provider_id));
  return provider->Open({.name = model.name,
                         .model_id = model.provider_model_id,
                         .config_json = model.config_json,
                         .log = model.log});
}

void ModelHost::OpenAndSettle(const Model& model) {
  const base::SteadyTime start = base::Clock::System().Now();
  OpenedBackend opened = model->provider_id.empty() ? Open(model) : OpenProvided(*model);
  Settle(model, WithSaid(*model, std::move(opened)));
  LogOutcome(*model, base::MillisBetween(start, base::Clock::System().Now()));
}

// A derived model: with its base when that is in memory, by its words alone when it is not.
void ModelHost::Derive(const Model& model) {
  const Model base_model = model->root_;
  std::optional<ModelLease> hold;
  absl::Status failure;
  while (!hold && failure.ok()) {
    std::unique_lock lock(core_->mutex);
    if (closed_) failure = base::Unavailable("draining");
    // Its base has come meanwhile, and brought it along.
    if (model->status_.state != State::kLoading) return;
    const HostedModel::Status status = base_model->StatusLocked();
    if (status.state == State::kReady) {
      hold = ModelLease(base_model);
    } else if (status.state == State::kFailed) {
      failure = base::FailedPrecondition(
          absl::StrCat("the model \"", base_model->name,
                       "\" has failed: ", std::string(status.error.message())));
    } else if (status.state == State::kUnloaded && base_model->details_ != nullptr) {
      backends::ModelDetails details = *base_model->details_;
      DerivedBackend::Describe(*model->derived, &details);
      model->details_ = std::make_shared<backends::ModelDetails>(std::move(details));
      model->status_.state = State::kUnloaded;
      return core_->ChangedLocked();
    } else {
      core_->changed.wait_for(lock, milliseconds(1'000));
    }
  }
  if (!failure.ok()) {
    Settle(model, failure);
  } else {
    SettleDerived(model, base_model, hold->backend());
  }
  LogOutcome(*model, 0);
}

void ModelHost::SettleDerived(const Model& model, const Model& base_model,
                              backends::Backend& base_backend) {
  // What the base itself says in advance is in our spec already: the store has seen to it.
  auto* said_more = dynamic_cast<DerivedBackend*>(&base_backend);
  backends::Backend& under = said_more != nullptr ? said_more->under() : base_backend;
  const std::string& own = under.details().revision;
  absl::StatusOr<std::unique_ptr<DerivedBackend>> opened = DerivedBackend::Open(
      under, own.empty() ? base_model->status().revision : own, nullptr, *model->derived);
  if (opened.ok()) {
    const std::lock_guard lock(core_->mutex);
    model->status_.digest = (*opened)->digest();
  }
  Settle(model, std::move(opened));
}

// The end of loading, well or ill, for all who wait for it.
void ModelHost::Settle(const Model& model, OpenedBackend opened) {
  Told told;
  std::vector<Model> followers;
  std::optional<ModelLease> hold;
  std::shared_ptr<backends::Backend> backend;
  if (opened.ok()) backend = *std::move(opened);
  {
    const std::lock_guard lock(core_->mutex);
    HostedModel::Status& status = model->status_;
    // A derived model may be brought by its base and by its own thread.
    if (status.state != State::kLoading) return;
    model->decided_ = true;
    status.error = opened.status();
    if (backend != nullptr) {
      const backends::ModelDetails& details = backend->details();
      if (!details.revision.empty()) status.revision = details.revision;
      status.progress = 1;
      status.state = State::kReady;
      model->details_ = std::make_shared<backends::ModelDetails>(details);
      model->backend_ = backend;
      if (model->root_ == nullptr) {
        model->life_.bytes = details.memory_bytes;
        model->life_.Keep(model->life_.keep_alive, *core_->clock);
      }
    } else {
      // Room may be found later; anything else is looked at by somebody first.
      const bool later = status.on_demand && absl::IsResourceExhausted(status.error);
      status.state = later ? State::kUnloaded : State::kFailed;
      model->life_.bytes = 0;
    }
    for (const Model& other : models_) {
      if (other->root_ == model && other->status_.state == State::kLoading) {
        followers.push_back(other);
      }
    }
    if (backend != nullptr && !followers.empty()) hold = ModelLease(model);
    for (const Model& other : followers) {
      if (backend != nullptr) break;
      other->status_.state = status.state;
      other->status_.error = status.error;
    }
    TellWaitersLocked(model->Root(), &told);
    core_->ChangedLocked();
    core_->kicked = true;
  }
  if (backend != nullptr) {
    model->log->Add(base::LogLevel::kInfo, "loaded", {{"backend", model->backend_kind}});
  } else {
    model->log->Add(base::LogLevel::kError, "could not be loaded",
                    {{"error", opened.status().ToString()}});
  }
  Tell(std::move(told));
  if (!hold) return;
  for (const Model& other : followers) SettleDerived(other, model, *backend);
}

// Those that have to go first; they are marked by whoever calls.
absl::StatusOr<std::vector<ModelHost::Model>> ModelHost::MakeRoomLocked(const HostedModel& root,
                                                                        bool evict) {
  std::vector<Resident> residents;
  std::vector<Model> behind;
  for (const Model& other : models_) {
    if (other.get() == &root || other->root_ != nullptr) continue;
    residents.push_back({&other->life_, other->status_.state == State::kReady});
    behind.push_back(other);
  }
  const int64_t need = root.details_ == nullptr ? 0 : root.details_->memory_bytes;
  ASSIGN_OR_RETURN(const std::vector<size_t> going,
                   MakeRoom(residents, options_.memory_budget, need));
  if (!going.empty() && !evict) return base::Unavailable("no room beside the others");
  std::vector<Model> models;
  for (const size_t i : going) models.push_back(behind[i]);
  return models;
}

// Loads a model that is known and not in memory.
absl::Status ModelHost::StartLoadLocked(const Model& root) {
  if (closed_) return base::Unavailable("draining");
  ASSIGN_OR_RETURN(const std::vector<Model> going, MakeRoomLocked(*root, /*evict=*/true));
  for (const Model& other : going) MarkUnloadingLocked(other);
  root->life_.bytes = root->details_ == nullptr ? 0 : root->details_->memory_bytes;
  root->life_.keep_alive = options_.keep_alive;
  for (const Model& model : models_) {
    if (&model->Root() != root.get() || model->status_.state != State::kUnloaded) continue;
    model->status_.state = State::kLoading;
    model->status_.error = absl::OkStatus();
    model->status_.progress = 0;
    model->status_.on_demand = true;
  }
  core_->ChangedLocked();
  StartThreadLocked([this, root, going] {
    for (const Model& other : going) FinishUnload(other);
    WaitForUnloads();
    OpenAndSettle(root);
  });
  return absl::OkStatus();
}

// Until what others have made go has gone: its memory counts as free already.
void ModelHost::WaitForUnloads() {
  std::unique_lock lock(core_->mutex);
  core_->changed.wait_for(lock, options_.unload_drain, [this] {
    return std::none_of(models_.begin(), models_.end(), [](const Model& model) {
      return model->status_.state == State::kUnloading && !model->removing_;
    });
  });
}

}  // namespace conclave::worker
