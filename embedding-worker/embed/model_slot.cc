#include "embed/model_slot.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace conclave::embed {
namespace {

using std::chrono::milliseconds;

// Longer is for ever; it also keeps sums from overflowing.
constexpr milliseconds kLongest = std::chrono::hours(24 * 365 * 100);
constexpr milliseconds kLoadMax{60'000};
constexpr milliseconds kLoadingRetry{2'000};
constexpr milliseconds kJustAnswered{100};

}  // namespace

ModelUse& ModelUse::operator=(ModelUse&& other) noexcept {
  Release();
  slot_ = std::exchange(other.slot_, nullptr);
  return *this;
}

// While somebody uses it, nobody else touches it.
ServedModel& ModelUse::model() const { return *slot_->model_; }

void ModelUse::Release() {
  if (ModelSlot* const slot = std::exchange(slot_, nullptr)) slot->End();
}

ModelSlot::ModelSlot(std::unique_ptr<ServedModel> model, SlotOptions options)
    : options_(std::move(options)),
      facts_(model->facts()),
      model_(std::move(model)),
      keep_alive_(options_.keep_alive) {
  TouchLocked();
  keeper_ = std::jthread([this](const std::stop_token& stop) { RunKeeper(stop); });
}

ModelSlot::~ModelSlot() {
  Stop();
  keeper_.request_stop();
  keeper_.join();
}

ModelSlot::Status ModelSlot::status() const {
  const std::lock_guard lock(mutex_);
  return {state_, state_ == State::kReady ? expires_unix_ms_ : 0};
}

BatcherStats ModelSlot::stats() const {
  const std::lock_guard lock(mutex_);
  return model_ == nullptr ? BatcherStats() : model_->batcher().stats();
}

void ModelSlot::TouchLocked() {
  const bool ends =
      options_.open != nullptr && keep_alive_ >= milliseconds(0) && keep_alive_ <= kLongest;
  expires_at_ = ends ? options_.clock->Now() + keep_alive_ : base::SteadyTime::max();
  expires_unix_ms_ = ends ? options_.clock->UnixMillis() + keep_alive_.count() : 0;
  changed_.notify_all();
}

bool ModelSlot::IsOverLocked() const {
  return state_ == State::kReady && users_ == 0 && expires_at_ <= options_.clock->Now();
}

absl::StatusOr<ModelUse> ModelSlot::Use(std::optional<milliseconds> keep_alive) {
  std::unique_lock lock(mutex_);
  const auto settled = [this] {
    return stopped_ || state_ == State::kReady || state_ == State::kUnloaded;
  };
  if (!changed_.wait_for(lock, kLoadMax, settled)) {
    return base::WithRetryAfter(
        base::WithReason(
            base::Unavailable(absl::StrCat("the model \"", facts_.name, "\" is still loading")),
            "model_loading"),
        kLoadingRetry);
  }
  if (stopped_) return base::Unavailable("the worker is stopping");
  if (state_ == State::kUnloaded) {
    RETURN_IF_ERROR(LoadLocked(lock));
    if (stopped_) return base::Unavailable("the worker is stopping");
  }
  ++users_;
  if (keep_alive) keep_alive_ = *keep_alive;
  TouchLocked();
  return ModelUse(this);
}

// Gives the lock up meanwhile; the others wait.
absl::Status ModelSlot::LoadLocked(std::unique_lock<std::mutex>& lock) {
  state_ = State::kLoading;
  changed_.notify_all();
  lock.unlock();
  const base::SteadyTime start = base::Clock::System().Now();
  absl::StatusOr<std::unique_ptr<ServedModel>> opened = options_.open();
  if (opened.ok() && (*opened)->facts().revision != facts_.revision) {
    opened = base::FailedPrecondition("the model's files have changed; start the worker again");
  }
  lock.lock();
  state_ = opened.ok() ? State::kReady : State::kUnloaded;
  if (opened.ok()) {
    model_ = *std::move(opened);
    keep_alive_ = options_.keep_alive;
  }
  changed_.notify_all();
  const double ms = base::MillisBetween(start, base::Clock::System().Now());
  base::LogInfo("model loaded",
                {{"model", facts_.name}, {"ok", state_ == State::kReady}, {"ms", ms}});
  return opened.status();
}

void ModelSlot::End() {
  const std::lock_guard lock(mutex_);
  --users_;
  TouchLocked();
}

absl::StatusOr<bool> ModelSlot::LetGo(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (options_.open == nullptr) {
    return base::WithReason(
        base::FailedPrecondition(absl::StrCat("the model \"", facts_.name, "\" is pinned")),
        "model_pinned");
  }
  keep_alive_ = milliseconds(0);
  TouchLocked();
  // Whoever has just been answered by the model may ask before its call is cleared away.
  changed_.wait_for(lock, std::min(kJustAnswered, timeout), [this] { return users_ == 0; });
  changed_.wait_for(lock, timeout, [this] {
    return users_ > 0 || (state_ != State::kReady && state_ != State::kUnloading);
  });
  return users_ > 0 || state_ == State::kLoading;
}

void ModelSlot::Stop() {
  ServedModel* model = nullptr;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;  // from here on it does not go any more
    model = model_.get();
    changed_.notify_all();
  }
  // It answers calls, whose uses end then.
  if (model != nullptr) model->batcher().Stop();
}

void ModelSlot::RunKeeper(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto period = [this] {
      const auto left = expires_at_ - options_.clock->Now();
      if (state_ != State::kReady || users_ > 0 || left >= options_.keeper_period) {
        return options_.keeper_period;
      }
      return std::chrono::duration_cast<milliseconds>(
                 std::max(left, base::SteadyTime::duration(0))) +
             milliseconds(1);
    };
    changed_.wait_for(lock, stop, period(), [this] { return !stopped_ && IsOverLocked(); });
    if (stopped_ || !IsOverLocked()) continue;
    state_ = State::kUnloading;
    std::unique_ptr<ServedModel> gone = std::move(model_);
    lock.unlock();
    gone.reset();
    lock.lock();
    state_ = State::kUnloaded;
    changed_.notify_all();
    base::LogInfo("model unloaded", {{"model", facts_.name}});
  }
}

}  // namespace conclave::embed
