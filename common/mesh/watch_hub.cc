#include "mesh/watch_hub.h"

#include <condition_variable>

#include "base/clock.h"
#include "base/status.h"
#include "mesh/grpc_status.h"

namespace conclave::mesh {

namespace pb = conclave::v1;

// gRPC holds one reference from the start to OnDone.
class WatchHub::Watcher final : public grpc::ServerWriteReactor<pb::WorkerState>,
                                public std::enable_shared_from_this<Watcher> {
 public:
  void Start() { self_ = shared_from_this(); }

  // Sends `state` when it differs from the last one sent or the silence was long enough.
  void Offer(const pb::WorkerState& state, const std::string& signature, base::SteadyTime now,
             std::chrono::milliseconds silence_max) {
    {
      const std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      if (signature == signature_ && now - last_ < silence_max) return;
      signature_ = signature;
      last_ = now;
      current_ = state;
      current_.set_seq(seq_++);
      writing_ = true;
    }
    StartWrite(&current_);
  }

  void End(const grpc::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      finished_ = true;
      end_ = status;
      if (writing_) return;  // OnWriteDone ends it
    }
    Finish(status);
  }

 private:
  void OnWriteDone(bool) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!finished_) return;
    }
    Finish(end_);
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override { const std::shared_ptr<Watcher> self = std::move(self_); }

  std::shared_ptr<Watcher> self_;
  std::mutex mutex_;
  pb::WorkerState current_;
  std::string signature_;
  base::SteadyTime last_;
  uint64_t seq_ = 0;
  bool writing_ = false;
  bool finished_ = false;
  grpc::Status end_;
};

namespace {

// What counts as a change: averages move all the time and do not.
std::string Signature(pb::WorkerState state) {
  state.mutable_load()->clear_decode_tps();
  state.mutable_load()->clear_prefill_tps();
  state.mutable_load()->clear_step_ms_p50();
  return state.SerializeAsString();
}

}  // namespace

WatchHub::WatchHub(Fill fill, const WatchOptions& options)
    : fill_(std::move(fill)), options_(options) {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

WatchHub::~WatchHub() = default;

grpc::ServerWriteReactor<pb::WorkerState>* WatchHub::Watch(grpc::CallbackServerContext* context) {
  auto watcher = std::make_shared<Watcher>();
  watcher->Start();
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(watchers_, [](const auto& other) { return other.expired(); });
    full = watchers_.size() >= options_.watchers_max;
    if (!full) watchers_.push_back(watcher);
  }
  if (full) {
    watcher->End(ToGrpc(base::ResourceExhausted("too many callers watch this worker"), context));
    return watcher.get();
  }
  pb::WorkerState state;
  fill_(&state);
  watcher->Offer(state, Signature(state), base::Clock::System().Now(), options_.silence_max);
  return watcher.get();
}

std::vector<std::shared_ptr<WatchHub::Watcher>> WatchHub::Alive() {
  std::vector<std::shared_ptr<Watcher>> alive;
  const std::lock_guard lock(mutex_);
  for (const auto& weak : watchers_) {
    if (auto watcher = weak.lock()) alive.push_back(std::move(watcher));
  }
  return alive;
}

void WatchHub::Run(const std::stop_token& stop) {
  std::mutex wait_mutex;
  std::condition_variable_any wake;
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(wait_mutex);
      wake.wait_for(lock, stop, options_.period, [] { return false; });
    }
    const auto watchers = Alive();
    if (watchers.empty()) continue;
    pb::WorkerState state;
    fill_(&state);
    const std::string signature = Signature(state);
    const base::SteadyTime now = base::Clock::System().Now();
    for (const auto& watcher : watchers) {
      watcher->Offer(state, signature, now, options_.silence_max);
    }
  }
}

}  // namespace conclave::mesh
