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

  // `reaction` answers each event, on the engine's thread; none = go on. The end is the kFinished
  // of the last of `answers`.
  explicit Collector(Reaction reaction = {}, int32_t answers = 1)
      : reaction_(std::move(reaction)), answers_(answers) {}

  SinkAction OnEvent(const Event& event) override;

  // The last kFinished event; nothing when it has not come by then.
  std::optional<Event> WaitFinished(std::chrono::milliseconds timeout) const;
  // True once there are that many tokens, or the end came.
  bool WaitTokens(size_t count, std::chrono::milliseconds timeout) const;

  // Of all answers, in the order they came;
  std::vector<TokenId> tokens() const;
  // of one of them.
  std::vector<TokenId> tokens(int32_t index) const;
  std::vector<Event> events() const;

 private:
  const Reaction reaction_;
  const int32_t answers_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Event> events_;
  std::vector<TokenId> tokens_;
  int32_t num_finished_ = 0;
  std::optional<Event> finished_;
};

}  // namespace conclave::engine
