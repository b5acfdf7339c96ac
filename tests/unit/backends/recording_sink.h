// Collects what a backend says about one request.
#pragma once

#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace conclave::backends {

class RecordingSink final : public EventSink {
 public:
  // Pauses after so many deltas, once; 0 = never. The end is that of the last of `answers`, or a
  // failure.
  explicit RecordingSink(size_t pause_after = 0, int answers = 1)
      : pause_after_(pause_after), answers_(answers) {}

  Flow OnEvent(Event event) override {
    const std::lock_guard lock(mutex_);
    if (auto* delta = std::get_if<Delta>(&event)) {
      deltas_.push_back(std::move(*delta));
    } else if (auto* finished = std::get_if<Finished>(&event)) {
      finished_ = std::move(*finished);
      all_finished_.push_back(*finished_);
      ++ends_;
    } else if (auto* prompt = std::get_if<PromptTokens>(&event)) {
      CHECK(deltas_.empty());
      prompt_.push_back(std::move(*prompt));
    } else if (auto* failed = std::get_if<Failed>(&event)) {
      failure_ = failed->status;
      ++ends_;
    }
    changed_.notify_all();
    const bool pause = pause_after_ > 0 && deltas_.size() == pause_after_;
    return pause ? Flow::kPause : Flow::kContinue;
  }

  bool WaitForEnd(std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return ends_ >= answers_ || !failure_.ok(); });
  }
  bool WaitForDeltas(size_t count, std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return deltas_.size() >= count; });
  }

  std::vector<Delta> deltas() const {
    const std::lock_guard lock(mutex_);
    return deltas_;
  }
  std::vector<PromptTokens> prompt() const {
    const std::lock_guard lock(mutex_);
    return prompt_;
  }
  std::vector<Finished> all_finished() const {
    const std::lock_guard lock(mutex_);
    return all_finished_;
  }
  std::optional<Finished> finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
  }
  absl::Status failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }
  int ends() const {
    const std::lock_guard lock(mutex_);
    return ends_;
  }
  std::string text() const {
    std::string all;
    for (const Delta& delta : deltas()) all += delta.text;
    return all;
  }
  std::string text(int32_t index) const {
    std::string all;
    for (const Delta& delta : deltas()) {
      if (delta.index == index) all += delta.text;
    }
    return all;
  }
  std::vector<TokenId> ids() const {
    std::vector<TokenId> all;
    for (const Delta& delta : deltas()) {
      all.insert(all.end(), delta.token_ids.begin(), delta.token_ids.end());
    }
    return all;
  }

 private:
  const size_t pause_after_;
  const int answers_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Delta> deltas_;
  std::vector<PromptTokens> prompt_;
  std::optional<Finished> finished_;
  std::vector<Finished> all_finished_;
  absl::Status failure_;
  int ends_ = 0;
};

}  // namespace conclave::backends
