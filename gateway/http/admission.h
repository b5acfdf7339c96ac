// How many requests of one model are on their way at once, and how many may wait for that: bounded,
// first come first served, with a time to live. Whoever finds the queue full is told when to come
// back, from the rate at which places have become free.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/status.h"
#include "gateway/http/response.h"

namespace conclave::gateway {

struct AdmissionOptions {
  int in_flight_max = 512;  // per model
  int queue_max = 256;      // per model
  std::chrono::milliseconds queue_ttl{60'000};
};

// Thread-safe. Permits may outlive it.
class Admission final {
 public:
  explicit Admission(const AdmissionOptions& options, base::Metrics* metrics = nullptr);
  ~Admission();

  class Permit final {
   public:
    Permit() = default;
    Permit(Permit&&) noexcept = default;
    Permit& operator=(Permit&&) noexcept = default;

   private:
    friend class Admission;
    std::shared_ptr<void> place_;  // freed with the last reference
  };

  // RESOURCE_EXHAUSTED "queue_full" or "queue_timeout", both with retry-after; CANCELLED when the
  // client went while waiting. `model` should be a known name: each has its own queue.
  Task<absl::StatusOr<Permit>> Enter(std::string model, ResponseWriter& out);

 private:
  struct Queue;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace conclave::gateway
