// One model of a worker, in whatever state, and the lease that keeps it in memory.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/backend.h"
#include "backends/model_log.h"
#include "base/clock.h"
#include "worker/derived_backend.h"
#include "worker/model_file.h"
#include "worker/model_life.h"

namespace conclave::worker {

// What a host, its models and their leases share: leases may outlive the host.
struct HostCore {
  std::mutex mutex;
  std::condition_variable_any changed;
  uint64_t version = 1;  // counts changes of the list and of the states
  bool kicked = false;   // the host's keeper has something to look at
  const base::Clock* clock = nullptr;

  void ChangedLocked() {
    ++version;
    changed.notify_all();
  }
  void KickLocked() {
    kicked = true;
    changed.notify_all();
  }
};

// Thread-safe. What is public and not a function never changes.
class HostedModel final {
 public:
  // kUnloaded: known, not in memory. kFailed: it could not be loaded, or its backend is not healthy
  // any more. kUnloading: on its way to kUnloaded, or out of the list.
  enum class State { kUnloaded, kLoading, kReady, kFailed, kUnloading };

  explicit HostedModel(std::shared_ptr<HostCore> core) : core_(std::move(core)) {}

  std::string name;
  std::vector<std::string> aliases;
  std::string backend_kind;
  std::string registration;            // digest of what it was loaded for; empty = our own
  std::optional<DerivedSpec> derived;  // made from another model, or more than its file says
  std::string provider_id;             // empty = a file of this worker's own
  std::string provider_model_id;
  std::string config_json;
  ModelFile file;
  std::shared_ptr<backends::ModelLog> log = std::make_shared<backends::ModelLog>();
  // The other model's name; empty = it has weights of its own.
  const std::string& base() const;

  struct Status {
    State state = State::kLoading;
    absl::Status error;
    double progress = 0;
    bool on_demand = false;  // it loads for a request, not because the worker begins
    std::string revision;
    std::string digest;  // empty until it is known
  };
  Status status() const;
  // How long it stays; a derived model's is its base's.
  ModelLife life() const;
  // nullptr unless it is in memory. For looking at it; to use it, take a lease.
  std::shared_ptr<const backends::Backend> backend() const;
  // As it was loaded last, or from the header of its file; nullptr before anything is known.
  std::shared_ptr<const backends::ModelDetails> details() const;

 private:
  friend class ModelHost;
  friend class ModelLease;
  Status StatusLocked() const;
  // The one whose weights it has.
  HostedModel& Root() { return root_ == nullptr ? *this : *root_; }
  const HostedModel& Root() const { return root_ == nullptr ? *this : *root_; }

  const std::shared_ptr<HostCore> core_;
  std::shared_ptr<HostedModel> root_;  // of a derived one; set before anybody sees it

  // Under the core's mutex.
  Status status_;
  ModelLife life_;
  bool removing_ = false;
  bool decided_ = false;  // whether it is loaded from the start
  std::shared_ptr<backends::Backend> backend_;
  std::shared_ptr<const backends::ModelDetails> details_;
  std::optional<engine::EngineOptions> engine_;  // what `details_` were planned with
};

// Keeps a model in memory. Movable; may end on any thread.
class ModelLease final {
 public:
  ModelLease(ModelLease&& other) noexcept = default;
  ModelLease& operator=(ModelLease&& other) noexcept;
  ~ModelLease() { End(); }

  const HostedModel& model() const { return *model_; }
  backends::Backend& backend() const { return *backend_; }

 private:
  friend class ModelHost;
  // Under the core's mutex.
  explicit ModelLease(std::shared_ptr<HostedModel> model);
  void End();

  std::shared_ptr<HostedModel> model_;  // none: moved from
  // Not shared: a lease may end on a thread of the backend, which must not destroy itself. The host
  // destroys it, once nobody uses it.
  backends::Backend* backend_ = nullptr;
};

}  // namespace conclave::worker
