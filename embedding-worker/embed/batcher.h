// Puts the inputs of many requests into batches of bounded size for the one thread that owns the
// encoder. Requests take turns input by input, so a long list does not hold up a short one; inputs
// of callers that have gone are dropped before they cost anything.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "embed/encoder.h"

namespace conclave::embed {

struct BatcherOptions {
  int32_t batch_tokens_max = 4'096;  // of one batch; an input larger than that runs alone
  int32_t batch_inputs_max = 256;
  int64_t queue_tokens_max = 1 << 20;  // waiting, over all requests; beyond it Submit refuses
};

struct BatcherStats {
  int32_t running = 0;  // requests with an input in the batch at hand
  int32_t waiting = 0;  // other requests
  int64_t waiting_tokens = 0;
  int64_t tokens_total = 0;   // computed
  int64_t dropped_total = 0;  // inputs of callers that had gone
  double tokens_per_s = 0;    // of the latest batches
};

struct BatchResult {
  // [input][dimensions], not normalised, in the order of the inputs.
  std::vector<std::vector<float>> vectors;
  double queue_ms = 0;
  double compute_ms = 0;
};

struct BatchRequest {
  std::vector<TokenSequence> inputs;  // each 1 to tokens_max ids
  // Asked now and then; true = nobody waits for the answer.
  std::function<bool()> abandoned;
  // Exactly once, on the batcher's thread or, when it refuses to go on, on Stop's: do not block.
  // CANCELLED when abandoned, UNAVAILABLE when stopped.
  std::function<void(absl::StatusOr<BatchResult>)> done;
};

// Thread-safe.
class Batcher final {
 public:
  // `encoder` outlives the batcher, which from now on is the only one to call Encode.
  Batcher(Encoder* encoder, const BatcherOptions& options = {});
  ~Batcher();  // Stop
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // RESOURCE_EXHAUSTED with a retry-after: the queue is full; UNAVAILABLE: stopped. `done` is then
  // not called.
  absl::Status Submit(BatchRequest request);
  BatcherStats stats() const;
  void Stop();

 private:
  struct Pending {
    BatchRequest request;
    BatchResult result;
    int64_t tokens_left = 0;
    size_t next = 0;      // the first input not given to a batch
    size_t computed = 0;  // inputs
    base::SteadyTime submitted;
    base::SteadyTime started;
    bool dropped = false;
  };
  using PendingPtr = std::shared_ptr<Pending>;
  struct Slot {
    PendingPtr pending;
    size_t index;
  };

  void Run();
  std::vector<Slot> TakeBatchLocked(std::vector<PendingPtr>* gone);
  void Compute(const std::vector<Slot>& batch);

  Encoder* const encoder_;
  const BatcherOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<PendingPtr> queue_;
  BatcherStats stats_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace conclave::embed
