// What a caller knows about the workers at one moment: an immutable snapshot, made by discovery,
// read by the picker, the model lists and the metrics.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/v1/models.pb.h"

namespace conclave::mesh {

class WorkerLink;  // channel and stubs of one worker: worker_link.h, for the clients only

enum class WorkerHealth {
  kConnecting,  // never heard of
  kFresh,       // heard of within 1.5 s
  kSuspect,     // silent for 1.5 s: gets no new work
  kDead,        // silent for 5 s, or its connection broke: streams go elsewhere
};
std::string_view WorkerHealthName(WorkerHealth health);

// Work this process has sent to a worker and the worker's last report cannot know yet. Shared by
// the calls that send and the picker that counts. Thread-safe.
struct OutstandingWork {
  std::atomic<int64_t> calls{0};             // in flight
  std::atomic<int64_t> unreported_calls{0};  // sent since the last report
  std::atomic<int64_t> unreported_tokens{0};
  std::atomic<uint64_t> reports{0};  // counted
};

struct WorkerInfo {
  std::string address;    // host:port we dial
  std::string worker_id;  // empty until first heard of
  uint64_t epoch = 0;     // of its process; another one = it was restarted
  WorkerHealth health = WorkerHealth::kConnecting;
  bool serving = false;
  bool draining = false;
  std::vector<conclave::v1::ModelStatus> models;
  conclave::v1::WorkerLoad load;
  std::shared_ptr<OutstandingWork> outstanding;
  std::shared_ptr<WorkerLink> link;

  // The model under this name or alias, in any state; null when the worker does not know it.
  const conclave::v1::ModelStatus* FindModel(std::string_view name) const;
  // May get new work.
  bool usable() const { return health == WorkerHealth::kFresh && serving && !draining; }
};

struct Fleet {
  // Sorted by address; one entry per worker even when two addresses lead to it.
  std::vector<std::shared_ptr<const WorkerInfo>> workers;

  // Every model some usable worker has (ready first, then loading, then unloaded), one entry per
  // name, sorted.
  std::vector<conclave::v1::ModelStatus> Models() const;
  // The last that was heard of a model whose workers are all suspect, dead or draining: it exists,
  // and whoever calls it should wait or come back. Null when no such worker had it.
  const conclave::v1::ModelStatus* FindLostModel(std::string_view name) const;
  const WorkerInfo* FindWorker(std::string_view worker_id) const;
  int num_usable() const;
};

}  // namespace conclave::mesh
