// Receives one request's events and lets another thread wait for the end: what programs and tests
// put behind Engine::Submit.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/request.h"

namespace conclave::engine {

// Thread-safe.
class Collector final : public EventSink {
 public:
  using Reaction = std::function<SinkAction(const Event&)>;

  // `reaction` answers each event, on the engine's thread; none = go on.
  explicit Collector(Reaction reaction = {}) : reaction_(std::move(reaction)) {}

  SinkAction OnEvent(const Event& event) override;

  // The kFinished event; nothing when it has not come by then.
  std::optional<Event> WaitFinished(std::chrono::milliseconds timeout) const;
  // True once there are that many tokens, or the end came.
  bool WaitTokens(size_t count, std::chrono::milliseconds timeout) const;

  std::vector<TokenId> tokens() const;
  std::vector<Event> events() const;

 private:
  const Reaction reaction_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Event> events_;
  std::vector<TokenId> tokens_;
  std::optional<Event> finished_;
};

}  // namespace conclave::engine
