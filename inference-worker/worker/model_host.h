// The models of one worker: opened by name, found by name or alias, taken away again once their
// streams have ended. Loading, unloading and digests run on threads of the host's own.
//
//   ModelHost host(options);
//   RETURN_IF_ERROR(host.Load({.name = "teacher", .path = path, .trusted = true}));
//   ASSIGN_OR_RETURN(ModelLease lease, host.Acquire("teacher"));
//   lease.backend().Generate(…);          // the model stays while the lease lives
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "base/clock.h"
#include "base/gate.h"
#include "worker/derived_backend.h"
#include "worker/model_file.h"
#include "worker/providers.h"

namespace conclave::worker {

// One model and its backend. Thread-safe; the fields below the mutex change while it loads.
class HostedModel final {
 public:
  // kFailed: it could not be loaded, or its backend is not healthy any more.
  enum class State { kLoading, kReady, kFailed, kUnloading };

  std::string name;
  std::vector<std::string> aliases;
  std::string backend_kind;
  std::string registration;            // digest of what it was loaded for; empty = our own
  std::optional<DerivedSpec> derived;  // made from another model, or more than its file says
  // The other model's name; empty = it has weights of its own.
  const std::string& base() const;
  std::string provider_id;  // empty = a file of this worker's own
  std::string provider_model_id;
  std::string config_json;
  ModelFile file;
  std::shared_ptr<backends::ModelLog> log = std::make_shared<backends::ModelLog>();

  struct Status {
    State state = State::kLoading;
    absl::Status error;
    double progress = 0;
    std::string revision;
    std::string digest;  // empty until it is known
  };
  Status status() const;
  // nullptr until the state is kReady and after the model is gone. For looking at it; to use it,
  // take a lease.
  std::shared_ptr<const backends::Backend> backend() const;

 private:
  friend class ModelHost;
  friend class ModelLease;
  base::Gate gate_;
  mutable std::mutex mutex_;
  Status status_;
  std::shared_ptr<backends::Backend> backend_;
};

// Keeps a model from being unloaded. Movable.
class ModelLease final {
 public:
  const HostedModel& model() const { return *model_; }
  backends::Backend& backend() const { return *backend_; }

 private:
  friend class ModelHost;
  ModelLease(std::shared_ptr<HostedModel> model, backends::Backend* backend, base::Gate::Pass pass)
      : model_(std::move(model)), backend_(backend), pass_(std::move(pass)) {}
  std::shared_ptr<HostedModel> model_;
  // Not shared: a lease may end on a thread of the backend, which must not destroy itself. The host
  // destroys it, once the gate is empty.
  backends::Backend* backend_;
  base::Gate::Pass pass_;  // left before the model is let go
};

struct HostOptions {
  std::vector<std::string> folders;  // what LoadModel may open; empty = nothing
  engine::EngineOptions engine;
  int models_max = 16;
  std::chrono::milliseconds unload_drain{30'000};
  bool digests = true;  // read every model file once, in the background
  const base::Clock* clock = &base::Clock::System();  // dates models that have no file
  std::shared_ptr<const ProviderSet> providers = std::make_shared<ProviderSet>();
};

struct LoadSpec {
  std::string name;  // empty = from the path
  std::string path;
  std::string backend;  // empty = native
  std::vector<std::string> aliases;
  std::string provider_id;  // set: of this provider, and neither path nor backend
  std::string provider_model_id;
  std::string config_json;
  std::optional<DerivedSpec> derived;  // with a base: no path and no backend
  std::string registration;            // see HostedModel
  bool trusted = false;                // from the command line: any regular file
};

// Thread-safe.
class ModelHost final {
 public:
  explicit ModelHost(HostOptions options);
  ~ModelHost();  // Close(0)
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  // Begins to load; the model is listed at once and becomes ready or failed later. A name whose
  // model failed may be loaded again; a model that is here for the same registration is given as it
  // is. A derived model waits for its base. INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED: the
  // spec or the path; ALREADY_EXISTS: the name or alias is taken; RESOURCE_EXHAUSTED: too many
  // models.
  absl::StatusOr<std::shared_ptr<const HostedModel>> StartLoading(const LoadSpec& spec);
  // The same, and waits for the outcome.
  absl::Status Load(const LoadSpec& spec);
  // A backend that is open already.
  absl::Status Add(std::string name, std::unique_ptr<backends::Backend> backend);

  // NOT_FOUND (model_not_found); UNAVAILABLE with retry-after (model_loading) while it loads or
  // goes; (model_unreachable) while the server or process behind it is away; FAILED_PRECONDITION
  // with the reason it failed.
  absl::StatusOr<ModelLease> Acquire(std::string_view name);
  // Streams end first, up to the drain time; what is left is cancelled. Blocks.
  // FAILED_PRECONDITION: it loads or goes just now; others derive from it; it is our own and only a
  // registered one may go.
  absl::Status Unload(std::string_view name, bool registered_only = false);

  // By name or alias, in whatever state. NOT_FOUND (model_not_found).
  absl::StatusOr<std::shared_ptr<const HostedModel>> Find(std::string_view name) const;
  const ProviderSet& providers() const { return *options_.providers; }
  // In the order they were loaded.
  std::vector<std::shared_ptr<const HostedModel>> List() const;

  // Counts changes of the list and of the states; WaitForChange returns the newest version once it
  // is not `seen`, or after the timeout.
  uint64_t version() const;
  uint64_t WaitForChange(uint64_t seen, std::chrono::milliseconds timeout) const;

  // Unloads everything and joins. Idempotent.
  void Close(std::chrono::milliseconds drain);

 private:
  absl::StatusOr<std::shared_ptr<HostedModel>> Register(const LoadSpec& spec, ModelFile file);
  std::shared_ptr<HostedModel> FindLocked(std::string_view name) const;
  absl::Status CheckUnloadLocked(const HostedModel& model, bool registered_only) const;
  void Open(const std::shared_ptr<HostedModel>& model);
  void OpenProvided(const std::shared_ptr<HostedModel>& model);
  void Derive(const std::shared_ptr<HostedModel>& model);
  absl::StatusOr<ModelLease> AcquireBase(const std::string& name);
  void Settle(HostedModel& model, absl::StatusOr<std::unique_ptr<backends::Backend>> opened);
  void RunDigests(const std::stop_token& stop);
  void Retire(const std::shared_ptr<HostedModel>& model, std::chrono::milliseconds drain);
  void Changed();

  const HostOptions options_;
  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  uint64_t version_ = 1;
  bool closed_ = false;
  std::vector<std::shared_ptr<HostedModel>> models_;
  // Failed and replaced, while their last streams end: a stream must not destroy its own backend.
  std::vector<std::shared_ptr<HostedModel>> replaced_;
  std::deque<std::shared_ptr<HostedModel>> digest_queue_;
  struct Loader {
    std::shared_ptr<HostedModel> model;
    std::jthread thread;
  };
  std::vector<Loader> loaders_;
  std::jthread digester_;
};

}  // namespace conclave::worker
