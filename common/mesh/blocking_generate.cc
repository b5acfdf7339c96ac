#include "mesh/blocking_generate.h"

#include <condition_variable>
#include <mutex>

namespace conclave::mesh {

namespace pb = conclave::v1;

// Holds the one event that was asked for until Next takes it.
class BlockingGenerate::State final : public GenerateObserver {
 public:
  void OnEvent(pb::GenerateEvent& event) override {
    {
      const std::lock_guard lock(mutex_);
      event_ = std::move(event);
    }
    ready_.notify_all();
  }
  void OnDone(const absl::Status& status) override {
    {
      const std::lock_guard lock(mutex_);
      status_ = status;
    }
    ready_.notify_all();
  }

  bool TakeAsk() {
    const std::lock_guard lock(mutex_);
    return !std::exchange(asked_, true) && !status_;
  }
  absl::StatusOr<std::optional<pb::GenerateEvent>> Wait(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    if (!ready_.wait_for(lock, timeout, [&] { return event_ || status_; })) {
      return absl::DeadlineExceededError("no event within the wait");
    }
    if (!event_) return std::optional<pb::GenerateEvent>();
    asked_ = false;
    return std::exchange(event_, std::nullopt);
  }
  absl::Status status() const {
    const std::lock_guard lock(mutex_);
    return status_.value_or(absl::FailedPreconditionError("the stream has not ended"));
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  bool asked_ = false;
  std::optional<pb::GenerateEvent> event_;
  std::optional<absl::Status> status_;
};

BlockingGenerate::BlockingGenerate(InferenceClient& client, pb::GenerateRequest request,
                                   const CallOptions& options)
    : state_(std::make_shared<State>()),
      call_(client.Generate(std::move(request), options, state_)) {}

BlockingGenerate::~BlockingGenerate() { call_->Cancel(); }

absl::StatusOr<std::optional<pb::GenerateEvent>> BlockingGenerate::Next(
    std::chrono::milliseconds timeout) {
  if (state_->TakeAsk()) call_->ReadNext();
  return state_->Wait(timeout);
}

void BlockingGenerate::Cancel() { call_->Cancel(); }

absl::Status BlockingGenerate::status() const { return state_->status(); }

}  // namespace conclave::mesh
