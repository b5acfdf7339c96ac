// The models of one worker: known by name or alias, loaded when they are asked for or from the
// start, and out of memory again when their time is over or another one needs the room.
//
//   ModelHost host(options);
//   RETURN_IF_ERROR(host.Load({.name = "teacher", .path = path, .trusted = true}));
//   ASSIGN_OR_RETURN(ModelLease lease, host.Acquire("teacher"));
//   lease.backend().Generate(…);          // the model stays while the lease lives
//
// Threads of the host's own: one for each model that loads, one that watches the time (keep-alives,
// waiting requests), one for digests. model_loading.cc has what the first do, model_keeper.cc the
// second.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "base/clock.h"
#include "worker/hosted_model.h"
#include "worker/providers.h"

namespace conclave::worker {

struct HostOptions {
  std::vector<std::string> folders;  // what LoadModel may open; empty = nothing
  engine::EngineOptions engine;
  int models_max = 16;  // known, each with weights of its own
  std::chrono::milliseconds unload_drain{30'000};
  bool digests = true;  // read every model file once, in the background
  // Of the models in memory together, as planned (engine/placement/memory_plan.h).
  int64_t memory_budget = std::numeric_limits<int64_t>::max();
  std::chrono::milliseconds keep_alive = kForever;  // where no request says otherwise
  std::vector<std::string> pinned;                  // names
  bool preload = true;         // false: models are known first, and loaded when asked for
  size_t waiting_max = 1'024;  // requests that wait for models, all together
  const base::Clock* clock = &base::Clock::System();
  std::chrono::milliseconds keeper_period{1'000};  // how often a held clock is looked at
  std::shared_ptr<const ProviderSet> providers = std::make_shared<ProviderSet>();
  // Where backends come from; tests bring their own.
  std::function<absl::StatusOr<std::unique_ptr<backends::Backend>>(std::string_view kind,
                                                                   const backends::BackendSpec&)>
      open = backends::OpenBackend;
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

struct UseOptions {
  // Until when the model may still be loading; what is past means not at all.
  base::SteadyTime wait_until{};
  std::optional<std::chrono::milliseconds> keep_alive;  // nothing = as it is
};
using LeaseCallback = absl::AnyInvocable<void(absl::StatusOr<ModelLease>)>;

// Thread-safe.
class ModelHost final {
 public:
  explicit ModelHost(HostOptions options);
  ~ModelHost();  // Close(0)
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  // Begins to load; the model is listed at once and becomes ready or failed later, or unloaded when
  // the memory budget has no room beside the others. A name whose model failed may be loaded again;
  // a model that is here for the same registration is given as it is. A derived model waits for its
  // base. INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED: the spec or the path; ALREADY_EXISTS: the
  // name or alias is taken; RESOURCE_EXHAUSTED: too many models.
  absl::StatusOr<std::shared_ptr<const HostedModel>> StartLoading(const LoadSpec& spec);
  // The same, and waits for the outcome.
  absl::Status Load(const LoadSpec& spec);
  // A backend that is open already, which can be opened once only: it stays until it is unloaded.
  absl::Status Add(std::string name, std::unique_ptr<backends::Backend> backend);

  // The model for as long as the lease lives. One that is not in memory is loaded, once for all who
  // wait; `done` hears of it exactly once: on this thread when nothing is to be waited for, else on
  // one of the host's, where it must not block. Errors: NOT_FOUND (model_not_found). UNAVAILABLE
  // with retry-after: (model_loading) when the wait is over, the loading goes on; (memory_in_use)
  // see MakeRoom; (model_unreachable) while the server or process behind it is away.
  // RESOURCE_EXHAUSTED: too many wait. FAILED_PRECONDITION (model_failed, model_too_large).
  // CANCELLED by CancelUse. Returns what CancelUse takes; 0 when `done` has been called.
  uint64_t Use(std::string_view name, const UseOptions& options, LeaseCallback done);
  // Ignored when it is over.
  void CancelUse(uint64_t id);
  // Use without waiting: has it loaded for the next caller.
  absl::StatusOr<ModelLease> Acquire(std::string_view name);
  // The model goes as soon as nobody uses it; true when somebody does. Waits for a moment, so that
  // an idle model has gone afterwards. NOT_FOUND; FAILED_PRECONDITION (model_pinned).
  absl::StatusOr<bool> LetGo(std::string_view name, std::chrono::milliseconds timeout);

  // Forgets the model. Streams end first, up to the drain time; what is left is cancelled. Blocks.
  // FAILED_PRECONDITION: it loads or goes just now; others derive from it; it is our own and only a
  // registered one may go.
  absl::Status Unload(std::string_view name, bool registered_only = false);

  // By name or alias, in whatever state. NOT_FOUND (model_not_found).
  absl::StatusOr<std::shared_ptr<const HostedModel>> Find(std::string_view name) const;
  const ProviderSet& providers() const { return *options_.providers; }
  const HostOptions& options() const { return options_; }
  // In the order they became known.
  std::vector<std::shared_ptr<const HostedModel>> List() const;

  struct Memory {
    int64_t budget = 0;
    int64_t used = 0;       // by what is in memory or being loaded
    int64_t evictable = 0;  // of `used`: would go for another model
  };
  Memory memory() const;

  // Counts changes of the list and of the states; WaitForChange returns the newest version once it
  // is not `seen`, or after the timeout.
  uint64_t version() const;
  uint64_t WaitForChange(uint64_t seen, std::chrono::milliseconds timeout) const;

  // Unloads everything and joins. Idempotent.
  void Close(std::chrono::milliseconds drain);

 private:
  using Model = std::shared_ptr<HostedModel>;
  using OpenedBackend = absl::StatusOr<std::unique_ptr<backends::Backend>>;
  struct Waiter {
    uint64_t id = 0;
    Model model;
    UseOptions options;
    LeaseCallback done;
  };
  // What is to be told once the lock is gone.
  using Told = std::vector<std::pair<LeaseCallback, absl::StatusOr<ModelLease>>>;
  static void Tell(Told told);

  // model_host.cc
  absl::StatusOr<Model> Register(const LoadSpec& spec, ModelFile file);
  absl::Status RegisterLocked(const Model& model, std::vector<Model>* gone);
  Model FindLocked(std::string_view name) const;
  absl::Status CheckUnloadLocked(const HostedModel& model, bool registered_only) const;
  void Retire(const Model& model, std::chrono::milliseconds drain);
  void RunDigests(const std::stop_token& stop);

  // model_loading.cc
  void StartThreadLocked(absl::AnyInvocable<void()> work);
  void Begin(const Model& model);
  void WaitForEarlierLocked(const HostedModel& model, std::unique_lock<std::mutex>& lock);
  absl::Status Outline(const Model& model);
  backends::BackendSpec SpecOf(const Model& model);
  OpenedBackend Open(const Model& model);
  OpenedBackend OpenProvided(const HostedModel& model);
  void OpenAndSettle(const Model& model);
  void Derive(const Model& model);
  void SettleDerived(const Model& model, const Model& base, backends::Backend& base_backend);
  void Settle(const Model& model, OpenedBackend opened);
  absl::Status StartLoadLocked(const Model& root);
  absl::StatusOr<std::vector<Model>> MakeRoomLocked(const HostedModel& root, bool evict);
  void WaitForUnloads();

  // model_keeper.cc
  std::optional<absl::Status> RefusalLocked(const HostedModel& model) const;
  void TellWaitersLocked(const HostedModel& root, Told* told);
  void GiveUpLateLocked(base::SteadyTime now, Told* told);
  std::vector<Model> OverLocked(base::SteadyTime now) const;
  void MarkUnloadingLocked(const Model& root);
  void FinishUnload(const Model& root);
  void RunKeeper(const std::stop_token& stop);
  std::chrono::milliseconds UntilNextLocked() const;

  const HostOptions options_;
  const std::shared_ptr<HostCore> core_ = std::make_shared<HostCore>();

  // Under the core's mutex.
  bool closed_ = false;
  std::vector<Model> models_;
  // Failed and replaced, while their last streams end: a stream must not destroy its own backend.
  std::vector<Model> replaced_;
  std::deque<Model> digest_queue_;
  std::vector<Waiter> waiters_;
  uint64_t last_use_ = 0;
  struct Loader {
    std::shared_ptr<std::atomic<bool>> done;
    std::jthread thread;
  };
  std::vector<Loader> loaders_;

  std::jthread digester_;
  std::jthread keeper_;
};

}  // namespace conclave::worker
