#include "mesh/discovery.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/ids.h"
#include "base/log.h"
#include "mesh/h2_connection.h"
#include "mesh/target.h"
#include "mesh/tls_context.h"
#include "mesh/worker_link.h"
#include "mesh/worker_tracker.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

constexpr milliseconds kTick{100};

base::SteadyTime Now() { return std::chrono::steady_clock::now(); }

// One Watch stream. Keeps itself alive until OnDone; says everything to the one who opened it.
class WatchStream final : public grpc::ClientReadReactor<pb::WorkerState>,
                          public std::enable_shared_from_this<WatchStream> {
 public:
  // Both are told which stream speaks: the opener may have another by then.
  using StateFn = std::function<void(const WatchStream*, const pb::WorkerState&)>;
  using EndFn = std::function<void(const WatchStream*, const grpc::Status&)>;

  WatchStream(std::shared_ptr<WorkerLink> link, std::string caller_id, StateFn on_state,
              EndFn on_end)
      : link_(std::move(link)), on_state_(std::move(on_state)), on_end_(std::move(on_end)) {
    request_.set_caller_id(std::move(caller_id));
  }

  void Start() {
    self_ = shared_from_this();
    link_->worker().async()->Watch(&context_, &request_, this);
    StartRead(&state_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    on_state_(this, state_);
    StartRead(&state_);
  }
  void OnDone(const grpc::Status& status) override {
    on_end_(this, status);
    const std::shared_ptr<WatchStream> self = std::move(self_);
  }

  const std::shared_ptr<WorkerLink> link_;
  const StateFn on_state_;
  const EndFn on_end_;
  grpc::ClientContext context_;
  pb::WatchRequest request_;
  pb::WorkerState state_;
  std::shared_ptr<WatchStream> self_;
};

// Better knowledge first, for two addresses that lead to one worker.
int Rank(const WorkerInfo& info) { return info.health == WorkerHealth::kFresh ? 0 : 1; }

std::shared_ptr<const Fleet> MakeFleet(std::vector<std::shared_ptr<const WorkerInfo>> workers) {
  std::stable_sort(workers.begin(), workers.end(),
                   [](const auto& a, const auto& b) { return Rank(*a) < Rank(*b); });
  auto fleet = std::make_shared<Fleet>();
  std::set<std::string> seen;
  for (auto& worker : workers) {
    if (worker->worker_id.empty() || seen.insert(worker->worker_id).second) {
      fleet->workers.push_back(std::move(worker));
    }
  }
  std::sort(fleet->workers.begin(), fleet->workers.end(),
            [](const auto& a, const auto& b) { return a->address < b->address; });
  return fleet;
}

}  // namespace

struct Discovery::Impl : std::enable_shared_from_this<Discovery::Impl> {
  Impl(DiscoveryOptions o, std::vector<Target> t) : options(std::move(o)), targets(std::move(t)) {
    if (options.metrics == nullptr) return;
    for (size_t i = 0; i < health_gauges.size(); ++i) {
      const std::string health(WorkerHealthName(static_cast<WorkerHealth>(i)));
      health_gauges[i] = options.metrics->AddGauge("conclave_workers", "Workers known, by health.",
                                                   {{"kind", options.kind}, {"health", health}});
    }
  }

  struct Entry {
    Entry(WorkerTracker t, std::shared_ptr<WorkerLink> l)
        : tracker(std::move(t)), link(std::move(l)) {}
    WorkerTracker tracker;
    std::shared_ptr<WorkerLink> link;
    std::shared_ptr<WatchStream> stream;
  };
  class SubscriptionImpl;

  void Run();          // the ticking thread
  void ResolveLoop();  // the resolving thread
  void SetAddresses(const std::set<std::string>& addresses);
  void AddWorker(const std::string& address);  // with the lock
  std::vector<std::shared_ptr<WatchStream>> TickAll();
  std::shared_ptr<WatchStream> OpenStream(const std::string& address, Entry& entry);
  void OnState(const std::string& address, const WatchStream* stream, const pb::WorkerState& state);
  void OnEnd(const std::string& address, const WatchStream* stream, const grpc::Status& status);
  void Publish();  // with the lock
  void NotifySubscribers();
  void Shutdown();

  static constexpr size_t kHealths = 4;

  const DiscoveryOptions options;
  const std::vector<Target> targets;
  std::atomic<std::shared_ptr<const Fleet>> fleet{std::make_shared<const Fleet>()};

  std::array<base::Gauge, kHealths> health_gauges;  // by WorkerHealth

  std::mutex mutex;
  std::condition_variable wake;     // the ticking thread
  std::condition_variable changed;  // WaitFor, and the end of the last stream
  std::map<std::string, Entry> entries;
  std::set<std::string> refused;  // beyond workers_max, logged once
  int open_streams = 0;
  bool dirty = false;  // published, subscribers not yet told
  bool stopping = false;

  std::mutex subscribers_mutex;  // held while they are called
  std::map<int, std::function<void(const Fleet&)>> subscribers;
  int next_subscriber = 0;

  std::condition_variable resolve_wake;
  std::thread ticker;
  std::thread resolver;
};

class Discovery::Impl::SubscriptionImpl final : public Discovery::Subscription {
 public:
  SubscriptionImpl(std::shared_ptr<Impl> impl, int id) : impl_(std::move(impl)), id_(id) {}
  ~SubscriptionImpl() override {
    const std::lock_guard lock(impl_->subscribers_mutex);
    impl_->subscribers.erase(id_);
  }

 private:
  const std::shared_ptr<Impl> impl_;
  const int id_;
};

void Discovery::Impl::Publish() {
  std::vector<std::shared_ptr<const WorkerInfo>> workers;
  workers.reserve(entries.size());
  for (const auto& [address, entry] : entries) workers.push_back(entry.tracker.info());
  const std::shared_ptr<const Fleet> made = MakeFleet(std::move(workers));
  std::array<int, kHealths> counts{};
  for (const auto& worker : made->workers) ++counts[static_cast<size_t>(worker->health)];
  for (size_t i = 0; i < kHealths; ++i) health_gauges[i].Set(counts[i]);
  fleet.store(made);
  dirty = true;
  wake.notify_one();
  changed.notify_all();
}

void Discovery::Impl::NotifySubscribers() {
  const std::shared_ptr<const Fleet> snapshot = fleet.load();
  const std::lock_guard lock(subscribers_mutex);
  for (const auto& [id, subscriber] : subscribers) subscriber(*snapshot);
}

void Discovery::Impl::OnState(const std::string& address, const WatchStream* stream,
                              const pb::WorkerState& state) {
  const std::lock_guard lock(mutex);
  const auto it = entries.find(address);
  if (it == entries.end() || it->second.stream.get() != stream) return;
  const WorkerInfo& before = *it->second.tracker.info();
  if (before.health != WorkerHealth::kFresh || before.epoch != state.epoch()) {
    base::LogInfo("worker heard of",
                  {{"address", address},
                   {"worker", state.worker_id()},
                   {"was", WorkerHealthName(before.health)},
                   {"restarted", before.epoch != 0 && before.epoch != state.epoch()}});
  }
  it->second.tracker.OnState(state, Now());
  Publish();
}

void Discovery::Impl::OnEnd(const std::string& address, const WatchStream* stream,
                            const grpc::Status& status) {
  const std::lock_guard lock(mutex);
  --open_streams;
  changed.notify_all();
  const auto it = entries.find(address);
  if (it == entries.end() || it->second.stream.get() != stream) return;
  it->second.stream = nullptr;
  const WorkerHealth before = it->second.tracker.info()->health;
  it->second.tracker.OnStreamEnd(Now());
  const WorkerHealth after = it->second.tracker.info()->health;
  if (before != after) {
    base::LogWarning("worker lost", {{"address", address},
                                     {"health", WorkerHealthName(after)},
                                     {"code", static_cast<int>(status.error_code())}});
    Publish();
  }
  wake.notify_one();
}

std::shared_ptr<WatchStream> Discovery::Impl::OpenStream(const std::string& address, Entry& entry) {
  auto stream = std::make_shared<WatchStream>(
      entry.link, options.caller_id,
      [self = shared_from_this(), address](const WatchStream* from, const pb::WorkerState& state) {
        self->OnState(address, from, state);
      },
      [self = shared_from_this(), address](const WatchStream* from, const grpc::Status& status) {
        self->OnEnd(address, from, status);
      });
  entry.stream = stream;
  entry.tracker.OnConnect(Now());
  ++open_streams;
  return stream;
}

// Ages everybody; gives the streams to start, which must happen without the lock.
std::vector<std::shared_ptr<WatchStream>> Discovery::Impl::TickAll() {
  std::vector<std::shared_ptr<WatchStream>> to_start;
  const base::SteadyTime now = Now();
  bool any_change = false;
  for (auto& [address, entry] : entries) {
    if (entry.tracker.Tick(now)) {
      any_change = true;
      base::LogWarning(
          "worker silent",
          {{"address", address}, {"health", WorkerHealthName(entry.tracker.info()->health)}});
    }
    if (entry.tracker.stuck(now) && entry.stream != nullptr) entry.stream->Cancel();
    if (!entry.tracker.streaming() && entry.tracker.reconnect_at() <= now) {
      to_start.push_back(OpenStream(address, entry));
    }
  }
  if (any_change) Publish();
  return to_start;
}

void Discovery::Impl::Run() {
  pthread_setname_np(pthread_self(), "discovery");
  std::unique_lock lock(mutex);
  while (!stopping) {
    const auto to_start = TickAll();
    const bool tell = std::exchange(dirty, false);
    lock.unlock();
    for (const auto& stream : to_start) stream->Start();
    if (tell) NotifySubscribers();
    lock.lock();
    if (stopping) break;
    base::SteadyTime next = Now() + kTick;
    for (const auto& [address, entry] : entries) {
      if (!entry.tracker.streaming()) next = std::min(next, entry.tracker.reconnect_at());
    }
    wake.wait_until(lock, next, [&] { return stopping || dirty; });
  }
}

void Discovery::Impl::AddWorker(const std::string& address) {
  if (static_cast<int>(entries.size()) >= options.workers_max) {
    if (refused.insert(address).second) {
      base::LogWarning("too many workers; address ignored", {{"address", address}});
    }
    return;
  }
  // The TLS files were read once at the start; a failure now means they vanished.
  absl::StatusOr<std::shared_ptr<grpc::ChannelInterface>> channel =
      OpenChannel(address, options.tls);
  if (!channel.ok()) {
    base::LogError("cannot open a channel",
                   {{"address", address}, {"error", std::string(channel.status().message())}});
    return;
  }
  absl::StatusOr<std::shared_ptr<H2Link>> streams = H2Link::Make(address, options.tls);
  if (!streams.ok()) {
    base::LogError("cannot connect",
                   {{"address", address}, {"error", std::string(streams.status().message())}});
    return;
  }
  auto link = std::make_shared<WorkerLink>(*std::move(channel), *std::move(streams));
  const WorkerTimes times{.suspect_after = options.suspect_after,
                          .dead_after = options.dead_after,
                          .reconnect_max = options.reconnect_max};
  entries.try_emplace(address, WorkerTracker(address, link, times), link);
}

void Discovery::Impl::SetAddresses(const std::set<std::string>& addresses) {
  const std::lock_guard lock(mutex);
  bool any_change = false;
  for (auto it = entries.begin(); it != entries.end();) {
    if (addresses.contains(it->first)) {
      ++it;
      continue;
    }
    base::LogInfo("worker gone from the list", {{"address", it->first}});
    if (it->second.stream != nullptr) it->second.stream->Cancel();
    it = entries.erase(it);
    any_change = true;
  }
  for (const std::string& address : addresses) {
    if (entries.contains(address)) continue;
    AddWorker(address);
    any_change = true;
  }
  if (any_change) Publish();
}

void Discovery::Impl::ResolveLoop() {
  pthread_setname_np(pthread_self(), "resolver");
  std::map<std::string, std::vector<std::string>> known;  // by host: the last good answer
  std::set<std::string> failing;
  for (;;) {
    std::set<std::string> addresses;
    for (const Target& target : targets) {
      absl::StatusOr<std::vector<std::string>> found = Resolve(target);
      std::vector<std::string>& last = known[target.address()];
      if (found.ok()) {
        last = *std::move(found);
        failing.erase(target.address());
      } else if (failing.insert(target.address()).second) {
        // The workers met before stay: their Watch streams know better than a name server.
        base::LogWarning(
            "cannot resolve workers",
            {{"target", target.address()}, {"error", std::string(found.status().message())}});
      }
      addresses.insert(last.begin(), last.end());
    }
    SetAddresses(addresses);
    std::unique_lock lock(mutex);
    if (resolve_wake.wait_for(lock, options.resolve_every, [&] { return stopping; })) return;
  }
}

void Discovery::Impl::Shutdown() {
  {
    std::unique_lock lock(mutex);
    stopping = true;
    wake.notify_all();
    resolve_wake.notify_all();
  }
  resolver.join();
  ticker.join();
  std::unique_lock lock(mutex);
  for (auto& [address, entry] : entries) {
    if (entry.stream != nullptr) entry.stream->Cancel();
  }
  // A cancelled stream ends within milliseconds.
  changed.wait_for(lock, std::chrono::seconds(5), [&] { return open_streams == 0; });
}

absl::StatusOr<std::unique_ptr<Discovery>> Discovery::Start(DiscoveryOptions options) {
  std::vector<Target> targets;
  for (const std::string& text : options.targets) {
    ASSIGN_OR_RETURN(targets.emplace_back(), ParseTarget(text));
    // Reads the TLS files, so that a wrong path is told at the start.
    RETURN_IF_ERROR(OpenChannel(text, options.tls).status());
    RETURN_IF_ERROR(MakeTlsContext(options.tls).status());
  }
  if (options.caller_id.empty()) options.caller_id = base::NewId("caller_");
  auto impl = std::make_shared<Impl>(std::move(options), std::move(targets));
  // Literal addresses are known at once; the first look-up of names happens on the resolver.
  std::set<std::string> literals;
  for (const Target& target : impl->targets) {
    if (target.literal) literals.insert(target.address());
  }
  impl->SetAddresses(literals);
  impl->ticker = std::thread([raw = impl.get()] { raw->Run(); });
  impl->resolver = std::thread([raw = impl.get()] { raw->ResolveLoop(); });
  return std::unique_ptr<Discovery>(new Discovery(std::move(impl)));
}

Discovery::Discovery(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Discovery::~Discovery() { impl_->Shutdown(); }

std::shared_ptr<const Fleet> Discovery::fleet() const { return impl_->fleet.load(); }

std::unique_ptr<Discovery::Subscription> Discovery::Subscribe(
    std::function<void(const Fleet&)> changed) {
  const std::lock_guard lock(impl_->subscribers_mutex);
  const int id = impl_->next_subscriber++;
  impl_->subscribers.emplace(id, std::move(changed));
  return std::make_unique<Impl::SubscriptionImpl>(impl_, id);
}

bool Discovery::WaitFor(const std::function<bool(const Fleet&)>& condition,
                        std::chrono::milliseconds timeout) {
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, timeout, [&] { return condition(*impl_->fleet.load()); });
}

}  // namespace conclave::mesh
