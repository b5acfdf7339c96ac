#include "tools/collector.h"

namespace conclave::engine {

SinkAction Collector::OnEvent(const Event& event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
    if (event.kind == Event::Kind::kToken) tokens_.push_back(event.token);
    if (event.kind == Event::Kind::kFinished && ++num_finished_ == answers_) finished_ = event;
  }
  changed_.notify_all();
  return reaction_ ? reaction_(event) : SinkAction::kContinue;
}

std::optional<Event> Collector::WaitFinished(std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return finished_.has_value(); });
  return finished_;
}

bool Collector::WaitTokens(size_t count, std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout,
                           [&] { return finished_.has_value() || tokens_.size() >= count; });
}

std::vector<TokenId> Collector::tokens() const {
  const std::lock_guard lock(mutex_);
  return tokens_;
}

std::vector<TokenId> Collector::tokens(int32_t index) const {
  const std::lock_guard lock(mutex_);
  std::vector<TokenId> tokens;
  for (const Event& event : events_) {
    if (event.kind == Event::Kind::kToken && event.index == index) tokens.push_back(event.token);
  }
  return tokens;
}

std::vector<Event> Collector::events() const {
  const std::lock_guard lock(mutex_);
  return events_;
}

}  // namespace conclave::engine
