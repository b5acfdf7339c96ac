#include "mesh/call_core.h"

#include <algorithm>

namespace conclave::mesh {
namespace {

constexpr std::chrono::milliseconds kSweepEvery{100};
constexpr std::chrono::seconds kStopWait{5};

base::SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

CallCore::CallCore(Discovery* discovery, base::Metrics* metrics)
    : discovery_(discovery),
      tasks_("mesh-calls"),
      dice_(static_cast<uint64_t>(Now().time_since_epoch().count())) {
  if (metrics == nullptr) return;
  retries = metrics->AddCounter("conclave_retries_total", "Calls tried again on another worker.");
  const char* name = "conclave_migrations_total";
  const char* help = "Streams taken up again after their worker was lost.";
  migrations_ok = metrics->AddCounter(name, help, {{"result", "ok"}});
  migrations_failed = metrics->AddCounter(name, help, {{"result", "failed"}});
}

void CallCore::Start() {
  subscription_ = discovery_->Subscribe([this](const Fleet&) {
    if (waiting.load() == 0) return;
    tasks_.Post([self = shared_from_this()] { self->SweepAll(); });
  });
}

void CallCore::Stop() {
  stopping_.store(true);
  subscription_ = nullptr;
  std::vector<std::shared_ptr<ActiveCall>> calls;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, call] : active_) calls.push_back(call);
  }
  for (const auto& call : calls) call->Cancel();
  calls.clear();
  {
    std::unique_lock lock(mutex_);
    empty_.wait_for(lock, kStopWait, [&] { return active_.empty(); });
  }
  tasks_.Stop();
}

std::shared_ptr<const Fleet> CallCore::fleet() const {
  static const std::shared_ptr<const Fleet> kNobody = std::make_shared<const Fleet>();
  return stopping() ? kNobody : discovery_->fleet();
}

void CallCore::Register(const std::shared_ptr<ActiveCall>& call) {
  const std::lock_guard lock(mutex_);
  active_.emplace(call.get(), call);
  ArmSweep();
}

void CallCore::Unregister(const ActiveCall* call) {
  std::shared_ptr<ActiveCall> gone;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (const auto it = active_.find(call); it != active_.end()) {
    gone = std::move(it->second);
    active_.erase(it);
  }
  if (active_.empty()) empty_.notify_all();
}

void CallCore::ArmSweep() {
  if (sweep_armed_ || active_.empty()) return;
  sweep_armed_ = true;
  tasks_.At(Now() + kSweepEvery, [self = shared_from_this()] {
    self->SweepAll();
    const std::lock_guard lock(self->mutex_);
    self->sweep_armed_ = false;
    self->ArmSweep();
  });
}

void CallCore::SweepAll() {
  std::vector<std::shared_ptr<ActiveCall>> calls;
  {
    const std::lock_guard lock(mutex_);
    calls.reserve(active_.size());
    for (const auto& [key, call] : active_) calls.push_back(call);
  }
  const std::shared_ptr<const Fleet> snapshot = fleet();
  const base::SteadyTime now = Now();
  for (const auto& call : calls) call->Sweep(now, *snapshot);
}

uint64_t CallCore::Dice() {
  // SplitMix64 (Steele, Lea, Flood 2014) over a shared counter.
  uint64_t z = dice_.fetch_add(0x9E3779B97F4A7C15ull) + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

bool IsLost(const absl::Status& status) {
  // CANCELLED that we did not ask for: the server is stopping. UNKNOWN: the transport broke in a
  // way gRPC has no word for.
  return absl::IsUnavailable(status) || absl::IsCancelled(status) || absl::IsUnknown(status);
}

bool MayRetry(const absl::Status& status, const Fleet& fleet) {
  // It was waited for already, as long as the request allows.
  if (base::ReasonOf(status) == "model_loading") return false;
  if (IsLost(status)) return true;
  return absl::IsResourceExhausted(status) && base::RetryAfterOf(status).count() > 0 &&
         fleet.num_usable() > 1;
}

bool HasOther(const Fleet& fleet, const std::vector<std::string>& avoid) {
  return std::any_of(fleet.workers.begin(), fleet.workers.end(), [&](const auto& worker) {
    return worker->usable() &&
           std::find(avoid.begin(), avoid.end(), worker->worker_id) == avoid.end();
  });
}

std::chrono::milliseconds Backoff(int failures, uint64_t dice) {
  const int64_t base = std::min<int64_t>(500, int64_t{50} << std::clamp(failures, 0, 4));
  return std::chrono::milliseconds(base - base / 10 +
                                   static_cast<int64_t>(dice % 1024) * base / 5120);
}

std::chrono::system_clock::time_point AsSystemTime(base::SteadyTime when) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(when - Now());
}

}  // namespace conclave::mesh
