#include "store/services/dispatcher.h"

#include <pthread.h>

namespace conclave::store {

Dispatcher::Dispatcher(const Options& options, base::Gate* gate)
    : gate_(gate), queue_(static_cast<size_t>(options.queue_max)) {
  for (int i = 0; i < options.num_threads; ++i) {
    threads_.emplace_back([this] { Work(); });
  }
}

Dispatcher::~Dispatcher() { queue_.Close(); }

bool Dispatcher::Post(std::function<void()> task) { return queue_.TryPush(std::move(task)); }

absl::Status Dispatcher::BusyError() {
  return base::WithRetryAfter(base::Unavailable("the store is busy"), std::chrono::seconds(1));
}

absl::Status Dispatcher::Admit(const grpc::CallbackServerContext& context,
                               std::optional<base::Gate::Pass>* pass) {
  if (context.IsCancelled()) return absl::CancelledError("the caller has gone");
  *pass = gate_->Enter();
  if (!*pass) return base::Unavailable("draining");
  return absl::OkStatus();
}

void Dispatcher::Work() {
  pthread_setname_np(pthread_self(), "store-call");
  // Pop returns nothing on a time-out too; only a closed queue that is empty ends the thread.
  while (true) {
    std::optional<std::function<void()>> task = queue_.Pop(std::chrono::seconds(1));
    if (task) {
      (*task)();
    } else if (queue_.closed()) {
      return;
    }
  }
}

}  // namespace conclave::store
