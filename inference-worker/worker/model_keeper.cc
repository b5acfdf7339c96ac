// How models leave memory, and who waits for them: what a ModelHost's keeper thread does.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/model_host.h"
#include "worker/model_refusals.h"

namespace conclave::worker {

using State = HostedModel::State;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kJustAnswered{100};

}  // namespace

// Why nobody may use the model, whoever waits for it; nothing while it is ready or may become so.
std::optional<absl::Status> ModelHost::RefusalLocked(const HostedModel& model) const {
  if (closed_) return base::Unavailable("draining");
  if (model.removing_) return LoadingStatus(model.name, 0);
  const HostedModel::Status status = model.StatusLocked();
  if (status.state != State::kFailed) return std::nullopt;
  if (model.backend_ != nullptr && absl::IsUnavailable(status.error)) {
    return base::WithRetryAfter(
        base::WithReason(
            base::Annotate(status.error, absl::StrCat("the model \"", model.name, "\" is away")),
            "model_unreachable"),
        kLoadingRetryAfter);
  }
  if (base::ReasonOf(status.error) == "model_too_large") return status.error;
  return base::WithReason(
      base::FailedPrecondition(absl::StrCat(
          "the model \"", model.name, "\" has failed: ", std::string(status.error.message()))),
      "model_failed");
}

// Those who wait for a model of `root` whose state says what they get.
void ModelHost::TellWaitersLocked(const HostedModel& root, Told* told) {
  std::vector<Waiter> left;
  for (Waiter& waiter : waiters_) {
    HostedModel& model = *waiter.model;
    const bool listed = std::find(models_.begin(), models_.end(), waiter.model) != models_.end();
    std::optional<absl::Status> refusal;
    if (!listed) {
      refusal = base::WithReason(
          base::NotFound(absl::StrCat("the model \"", model.name, "\" does not exist any more")),
          "model_not_found");
    } else {
      refusal = RefusalLocked(model);
    }
    const bool gave_up = model.status_.state == State::kUnloaded && !model.status_.error.ok();
    if (!refusal && gave_up) refusal = model.status_.error;
    const bool concerns = &model.Root() == &root;
    if (!concerns || (!refusal && model.status_.state != State::kReady)) {
      left.push_back(std::move(waiter));
    } else if (refusal) {
      told->emplace_back(std::move(waiter.done), *std::move(refusal));
    } else {
      const auto& keep_alive = waiter.options.keep_alive;
      if (keep_alive) model.Root().life_.Keep(*keep_alive, *core_->clock);
      told->emplace_back(std::move(waiter.done), ModelLease(waiter.model));
    }
  }
  waiters_ = std::move(left);
}

// Those who have waited long enough.
void ModelHost::GiveUpLateLocked(base::SteadyTime now, Told* told) {
  std::erase_if(waiters_, [&](Waiter& waiter) {
    if (waiter.options.wait_until > now) return false;
    const HostedModel& root = waiter.model->Root();
    told->emplace_back(std::move(waiter.done),
                       LoadingStatus(waiter.model->name, root.status_.progress));
    return true;
  });
}

std::vector<ModelHost::Model> ModelHost::OverLocked(base::SteadyTime now) const {
  std::vector<Model> over;
  for (const Model& model : models_) {
    if (model->root_ != nullptr || model->removing_) continue;
    const bool loaded = model->status_.state == State::kReady;
    if (loaded && model->life_.IsOver(now)) over.push_back(model);
  }
  return over;
}

void ModelHost::MarkUnloadingLocked(const Model& root) {
  for (const Model& model : models_) {
    const bool loaded = model->status_.state == State::kReady;
    if (&model->Root() == root.get() && loaded) model->status_.state = State::kUnloading;
  }
  root->life_.bytes = 0;
  core_->ChangedLocked();
}

// On this thread, which is none of the backend's. Nobody uses it any more: it is marked.
void ModelHost::FinishUnload(const Model& root) {
  const base::SteadyTime start = base::Clock::System().Now();
  std::vector<std::shared_ptr<backends::Backend>> gone;
  {
    const std::lock_guard lock(core_->mutex);
    for (const Model& model : models_) {
      if (model->root_ == root) gone.push_back(std::exchange(model->backend_, nullptr));
    }
    gone.push_back(std::exchange(root->backend_, nullptr));
  }
  // Derived ones first: they have no more than a reference to the last.
  for (auto& backend : gone) backend.reset();
  Told told;
  {
    const std::lock_guard lock(core_->mutex);
    for (const Model& model : models_) {
      const bool going = model->status_.state == State::kUnloading && !model->removing_;
      if (&model->Root() == root.get() && going) model->status_.state = State::kUnloaded;
    }
    core_->ChangedLocked();
    const bool wanted = std::any_of(waiters_.begin(), waiters_.end(), [&](const Waiter& waiter) {
      return &waiter.model->Root() == root.get();
    });
    if (wanted && root->status_.state == State::kUnloaded) {
      root->status_.error = StartLoadLocked(root);
      TellWaitersLocked(*root, &told);
    }
  }
  Tell(std::move(told));
  root->log->Add(base::LogLevel::kInfo, "unloaded", {});
  base::LogInfo(
      "model unloaded",
      {{"model", root->name}, {"ms", base::MillisBetween(start, base::Clock::System().Now())}});
}

absl::StatusOr<bool> ModelHost::LetGo(std::string_view name, milliseconds timeout) {
  std::unique_lock lock(core_->mutex);
  const Model model = FindLocked(name);
  if (model == nullptr) {
    return base::WithReason(
        base::NotFound(absl::StrCat("the model \"", std::string(name), "\" does not exist")),
        "model_not_found");
  }
  HostedModel& root = model->Root();
  if (root.life_.pinned) {
    return base::WithReason(
        base::FailedPrecondition(absl::StrCat("the model \"", root.name, "\" is pinned")),
        "model_pinned");
  }
  root.life_.Keep(milliseconds(0), *core_->clock);
  core_->KickLocked();
  // Whoever has just been answered by the model may ask before its call is cleared away.
  core_->changed.wait_for(lock, std::min(kJustAnswered, timeout),
                          [&root] { return root.life_.users == 0; });
  core_->changed.wait_for(lock, timeout, [&root] {
    const State state = root.status_.state;
    return root.life_.users > 0 || (state != State::kReady && state != State::kUnloading);
  });
  return root.life_.users > 0 || root.status_.state == State::kLoading;
}

milliseconds ModelHost::UntilNextLocked() const {
  base::SteadyTime next = base::SteadyTime::max();
  for (const Waiter& waiter : waiters_) next = std::min(next, waiter.options.wait_until);
  for (const Model& model : models_) {
    const bool loaded = model->status_.state == State::kReady;
    if (loaded && model->life_.users == 0) next = std::min(next, model->life_.expires_at);
  }
  const base::SteadyTime now = options_.clock->Now();
  if (next >= now + options_.keeper_period) return options_.keeper_period;
  // Rounded up: never awake a moment too early.
  return std::chrono::duration_cast<milliseconds>(
             std::max(next - now, base::SteadyTime::duration(0))) +
         milliseconds(1);
}

void ModelHost::RunKeeper(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    Told told;
    std::vector<Model> over;
    {
      std::unique_lock lock(core_->mutex);
      core_->changed.wait_for(lock, stop, UntilNextLocked(), [this] { return core_->kicked; });
      core_->kicked = false;
      const base::SteadyTime now = options_.clock->Now();
      GiveUpLateLocked(now, &told);
      over = OverLocked(now);
      for (const Model& model : over) MarkUnloadingLocked(model);
    }
    Tell(std::move(told));
    for (const Model& model : over) FinishUnload(model);
  }
}

}  // namespace conclave::worker
