// Hints between those who write runs and those who wait for them, inside one process. The database
// is the truth and is polled once a second as well: a hint that is lost costs that second. Other
// replicas work from the poll alone.
//
// Thread-safe; the receivers must outlive their subscriptions.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace conclave::store {

class RunSignals final {
 public:
  using Receiver = std::function<void(const std::string& run_id)>;

  // A run waits to be executed.
  void OnQueued(Receiver receiver) { Add(&queued_, std::move(receiver)); }
  // Events of a run were committed.
  void OnTold(Receiver receiver) { Add(&told_, std::move(receiver)); }
  // A run is to be cancelled.
  void OnCancelling(Receiver receiver) { Add(&cancelling_, std::move(receiver)); }

  void Queued(const std::string& run_id) const { Send(queued_, run_id); }
  void Told(const std::string& run_id) const { Send(told_, run_id); }
  void Cancelling(const std::string& run_id) const { Send(cancelling_, run_id); }

 private:
  void Add(std::vector<Receiver>* receivers, Receiver receiver) {
    const std::lock_guard lock(mutex_);
    receivers->push_back(std::move(receiver));
  }
  void Send(const std::vector<Receiver>& receivers, const std::string& run_id) const {
    std::vector<Receiver> copy;
    {
      const std::lock_guard lock(mutex_);
      copy = receivers;
    }
    for (const Receiver& receiver : copy) receiver(run_id);
  }

  mutable std::mutex mutex_;
  std::vector<Receiver> queued_;
  std::vector<Receiver> told_;
  std::vector<Receiver> cancelling_;
};

}  // namespace conclave::store
