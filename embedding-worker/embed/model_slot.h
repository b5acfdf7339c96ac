// The place of the worker's one model: in memory, or out of it until somebody asks again.
//
//   ASSIGN_OR_RETURN(ModelUse use, slot.Use(keep_alive));
//   use.model().batcher().Submit(…);   // the model stays while `use` lives
//
// One thread of its own watches the time and is where models are let go.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/keep_alive.h"
#include "embed/served_model.h"

namespace conclave::embed {

using base::kForever;

struct SlotOptions {
  // Brings the model back once it has gone. Null: it never goes.
  std::function<absl::StatusOr<std::unique_ptr<ServedModel>>()> open;
  std::chrono::milliseconds keep_alive = kForever;  // where no request says otherwise
  const base::Clock* clock = &base::Clock::System();
  std::chrono::milliseconds keeper_period{1'000};  // how often a held clock is looked at
};

class ModelSlot;

// Keeps the model in memory. Not to be copied; movable.
class ModelUse final {
 public:
  ModelUse() = default;
  ModelUse(ModelUse&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  ModelUse& operator=(ModelUse&& other) noexcept;
  ~ModelUse() { Release(); }

  ServedModel& model() const;
  void Release();

 private:
  friend class ModelSlot;
  explicit ModelUse(ModelSlot* slot) : slot_(slot) {}
  ModelSlot* slot_ = nullptr;
};

// Thread-safe. Outlives the uses.
class ModelSlot final {
 public:
  enum class State { kReady, kUnloading, kUnloaded, kLoading };
  struct Status {
    State state = State::kReady;
    int64_t expires_unix_ms = 0;  // 0 = never
  };

  explicit ModelSlot(std::unique_ptr<ServedModel> model, SlotOptions options = {});
  ~ModelSlot();  // Stop
  ModelSlot(const ModelSlot&) = delete;
  ModelSlot& operator=(const ModelSlot&) = delete;

  const ModelFacts& facts() const { return facts_; }
  Status status() const;
  BatcherStats stats() const;

  // Blocks while the model is loaded: not for a thread of gRPC's. `keep_alive` as in RequestMeta.
  // UNAVAILABLE: stopped, or (model_loading) loading takes too long; what opening it says.
  absl::StatusOr<ModelUse> Use(std::optional<std::chrono::milliseconds> keep_alive);
  // The model goes as soon as nobody uses it; true when somebody does. Waits for a moment, so that
  // an idle model has gone afterwards. FAILED_PRECONDITION (model_pinned): it never goes.
  absl::StatusOr<bool> LetGo(std::chrono::milliseconds timeout);

  // Answers what waits for the batcher and takes no more. The model stays until the slot goes.
  void Stop();

 private:
  friend class ModelUse;
  absl::Status LoadLocked(std::unique_lock<std::mutex>& lock);
  void TouchLocked();
  void End();
  bool IsOverLocked() const;
  void RunKeeper(const std::stop_token& stop);

  const SlotOptions options_;
  const ModelFacts facts_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::unique_ptr<ServedModel> model_;
  State state_ = State::kReady;
  int users_ = 0;
  std::chrono::milliseconds keep_alive_;
  // While somebody uses it, what would hold if they ended now.
  base::SteadyTime expires_at_ = base::SteadyTime::max();
  int64_t expires_unix_ms_ = 0;
  bool stopped_ = false;
  std::jthread keeper_;
};

}  // namespace conclave::embed
