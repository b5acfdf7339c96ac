// The names that are registered, as the store last told them. A worker that has just come up does
// not have its registered models yet: whoever asks for one is to wait, not to hear that there is
// none.
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

#include "base/status.h"
#include "conclave/v1/models.pb.h"
#include "conclave/v1/registrations.pb.h"

namespace conclave::gateway {

// Thread-safe.
class RegisteredModels final {
 public:
  using Done = std::function<void(absl::StatusOr<v1::ListRegistrationsReply>)>;
  // `ask` puts the question to the store and lets `done` be called once, soon; perhaps after we are
  // gone.
  explicit RegisteredModels(std::function<void(Done done)> ask,
                            std::chrono::milliseconds every = std::chrono::milliseconds(1'000));
  ~RegisteredModels();
  RegisteredModels(const RegisteredModels&) = delete;
  RegisteredModels& operator=(const RegisteredModels&) = delete;

  // By name or alias: a model that is loading, and of which nothing else is known.
  std::optional<v1::ModelStatus> Find(std::string_view name) const;
  // Whether a name or alias is registered; for answers that come when we may be gone.
  std::function<bool(const std::string& name)> Knower() const;

 private:
  struct Known;
  void Loop(const std::stop_token& stop);

  const std::function<void(Done)> ask_;
  const std::chrono::milliseconds every_;
  const std::shared_ptr<Known> known_;  // shared with answers that come late
  std::jthread loop_;
};

}  // namespace conclave::gateway
