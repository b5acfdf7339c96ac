#include "gateway/upstream/registered_models.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace conclave::gateway {

struct RegisteredModels::Known {
  std::optional<v1::ModelStatus> Find(std::string_view name);

  std::mutex mutex;
  std::condition_variable_any wake;  // nobody notifies it but a stop
  bool asking = false;
  v1::ListRegistrationsReply names;
};

RegisteredModels::RegisteredModels(std::function<void(Done)> ask, std::chrono::milliseconds every)
    : ask_(std::move(ask)),
      every_(every),
      known_(std::make_shared<Known>()),
      loop_([this](const std::stop_token& stop) { Loop(stop); }) {}

RegisteredModels::~RegisteredModels() = default;

void RegisteredModels::Loop(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "registered");
  while (!stop.stop_requested()) {
    bool ask = false;
    {
      const std::lock_guard lock(known_->mutex);
      ask = !std::exchange(known_->asking, true);
    }
    if (ask) {
      ask_([known = known_](absl::StatusOr<v1::ListRegistrationsReply> names) {
        const std::lock_guard lock(known->mutex);
        known->asking = false;
        // While the store is away, what it told before still holds.
        if (names.ok()) known->names = *std::move(names);
      });
    }
    std::unique_lock lock(known_->mutex);
    known_->wake.wait_for(lock, stop, every_, [] { return false; });
  }
}

std::optional<v1::ModelStatus> RegisteredModels::Find(std::string_view name) const {
  return known_->Find(name);
}

std::function<bool(const std::string& name)> RegisteredModels::Knower() const {
  return [known = known_](const std::string& name) { return known->Find(name).has_value(); };
}

std::optional<v1::ModelStatus> RegisteredModels::Known::Find(std::string_view name) {
  const std::lock_guard lock(mutex);
  for (const v1::ModelRegistration& registration : names.registrations()) {
    const auto& aliases = registration.aliases();
    if (registration.name() != name &&
        std::find(aliases.begin(), aliases.end(), name) == aliases.end()) {
      continue;
    }
    v1::ModelStatus model;
    model.set_name(registration.name());
    *model.mutable_aliases() = aliases;
    model.set_state(v1::ModelStatus::STATE_LOADING);
    return model;
  }
  return std::nullopt;
}

}  // namespace conclave::gateway
