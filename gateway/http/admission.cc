#include "gateway/http/admission.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

namespace conclave::gateway {
namespace {

namespace net = boost::asio;
using std::chrono::steady_clock;

// Weight of the newest interval in the running mean.
constexpr double kRateWeight = 0.1;
constexpr double kRetrySecondsMin = 1;
constexpr double kRetrySecondsMax = 60;

struct Waiter {
  explicit Waiter(const net::any_io_executor& executor) : wake(executor) {}
  net::steady_timer wake;
  bool admitted = false;  // guarded by the state's mutex
};

}  // namespace

struct Admission::Queue {
  int in_flight = 0;
  std::deque<std::shared_ptr<Waiter>> waiting;
  double seconds_between_frees = 0;  // running mean; 0 = unknown
  steady_clock::time_point last_free{};
  base::Gauge depth;
};

struct Admission::State {
  AdmissionOptions options;
  base::Metrics* metrics = nullptr;
  std::mutex mutex;
  std::map<std::string, Queue> queues;

  absl::Status Full(const Queue& queue, std::string_view reason, std::string message) const {
    double seconds = queue.seconds_between_frees * static_cast<double>(queue.waiting.size() + 1);
    seconds = std::clamp(std::ceil(seconds), kRetrySecondsMin, kRetrySecondsMax);
    const auto wait = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
    return base::WithRetryAfter(
        base::WithReason(base::ResourceExhausted(std::move(message)), reason), wait);
  }

  // Under the mutex.
  Queue& QueueOf(const std::string& model) {
    const auto [entry, fresh] = queues.try_emplace(model);
    if (fresh && metrics != nullptr) {
      entry->second.depth = metrics->AddGauge("conclave_queue_depth",
                                              "Requests waiting for a place.", {{"model", model}});
    }
    return entry->second;
  }

  absl::Status TimedOut(const std::string& model) {
    const std::lock_guard lock(mutex);
    return Full(QueueOf(model), "queue_timeout",
                "waited too long for a place at model \"" + model + "\"");
  }

  // False when the waiter is admitted, or gives up and is taken out of the queue.
  bool StillWaiting(const std::string& model, const std::shared_ptr<Waiter>& waiter,
                    bool gives_up) {
    const std::lock_guard lock(mutex);
    if (waiter->admitted) return false;
    if (!gives_up) return true;
    Queue& queue = QueueOf(model);
    std::erase(queue.waiting, waiter);
    queue.depth.Set(static_cast<double>(queue.waiting.size()));
    return false;
  }

  // A place of the model has become free: the first in the queue gets it.
  void Free(const std::string& model) {
    const std::lock_guard lock(mutex);
    Queue& queue = queues[model];
    const auto now = steady_clock::now();
    if (queue.last_free != steady_clock::time_point()) {
      const double gap = std::chrono::duration<double>(now - queue.last_free).count();
      queue.seconds_between_frees += kRateWeight * (gap - queue.seconds_between_frees);
    }
    queue.last_free = now;
    if (queue.waiting.empty()) {
      --queue.in_flight;
      return;
    }
    const std::shared_ptr<Waiter> next = queue.waiting.front();
    queue.waiting.pop_front();
    queue.depth.Set(static_cast<double>(queue.waiting.size()));
    next->admitted = true;
    net::post(next->wake.get_executor(), [next] { next->wake.cancel(); });
  }
};

Admission::Admission(const AdmissionOptions& options, base::Metrics* metrics)
    : state_(std::make_shared<State>()) {
  state_->options = options;
  state_->metrics = metrics;
}

Admission::~Admission() {
  const std::lock_guard lock(state_->mutex);
  state_->metrics = nullptr;
  for (auto& [model, queue] : state_->queues) queue.depth = base::Gauge();
}

Task<absl::StatusOr<Admission::Permit>> Admission::Enter(std::string model, ResponseWriter& out) {
  const net::any_io_executor executor = co_await net::this_coro::executor;
  const std::shared_ptr<State> state = state_;
  const auto grant = [&state, &model] {
    Permit permit;
    permit.place_ = std::shared_ptr<void>(nullptr, [state, model](void*) { state->Free(model); });
    return permit;
  };
  std::shared_ptr<Waiter> waiter;
  absl::Status full;
  {
    const std::lock_guard lock(state->mutex);
    Queue& queue = state->QueueOf(model);
    if (queue.in_flight < state->options.in_flight_max) {
      ++queue.in_flight;
    } else if (static_cast<int>(queue.waiting.size()) >= state->options.queue_max) {
      full = state->Full(queue, "queue_full", "too many requests for model \"" + model + "\"");
    } else {
      waiter = std::make_shared<Waiter>(executor);
      queue.waiting.push_back(waiter);
      queue.depth.Set(static_cast<double>(queue.waiting.size()));
    }
  }
  if (!full.ok()) co_return full;
  if (!waiter) co_return grant();

  const auto until = steady_clock::now() + state->options.queue_ttl;
  bool gone = false;
  out.OnCancel([waiter, &gone] {
    gone = true;
    waiter->wake.cancel();
  });
  bool waiting = true;
  while (waiting) {
    waiter->wake.expires_at(until);
    co_await waiter->wake.async_wait(net::as_tuple(net::use_awaitable));
    waiting = state->StillWaiting(model, waiter, gone || steady_clock::now() >= until);
  }
  out.OnCancel(nullptr);
  if (waiter->admitted && !gone) co_return grant();
  if (waiter->admitted) grant();  // came too late: on to the next
  if (gone) co_return absl::CancelledError("the client has gone");
  co_return state->TimedOut(model);
}

}  // namespace conclave::gateway
