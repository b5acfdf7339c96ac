// How long a model stays in memory, and which one goes when another needs the room: bookkeeping
// alone, without threads. The host keeps one ModelLife for each model under its lock and asks here.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/keep_alive.h"

namespace conclave::worker {

using base::kForever;

// Not thread-safe.
struct ModelLife {
  int64_t bytes = 0;    // held, or reserved while it loads; 0 when it is not in memory
  bool pinned = false;  // goes only with the worker
  int users = 0;        // leases
  base::SteadyTime last_used{};
  std::chrono::milliseconds keep_alive = kForever;
  // While somebody uses it, what would hold if they ended now.
  base::SteadyTime expires_at = base::SteadyTime::max();
  int64_t expires_unix_ms = 0;  // 0 = never

  void Begin(const base::Clock& clock);
  void End(const base::Clock& clock);
  // From now on; a pinned model keeps its own.
  void Keep(std::chrono::milliseconds time, const base::Clock& clock);
  // Nobody uses it and its time is over.
  bool IsOver(base::SteadyTime now) const { return users == 0 && !pinned && expires_at <= now; }

 private:
  void Touch(const base::Clock& clock);
};

// One model that is in memory, on its way in, or on its way out.
struct Resident {
  const ModelLife* life = nullptr;
  bool loaded = false;  // only those can be made to go
};

// Those that go to make room for `need` more bytes, the least recently used first, by their place
// in `residents`. Nobody goes that is in use or pinned. `budget`, `need` >= 0.
// FAILED_PRECONDITION (model_too_large): not even with all others gone, pinned ones excepted.
// UNAVAILABLE (memory_in_use) with retry-after: not while those in use are. Both name the bytes.
absl::StatusOr<std::vector<size_t>> MakeRoom(std::span<const Resident> residents, int64_t budget,
                                             int64_t need);

}  // namespace conclave::worker
