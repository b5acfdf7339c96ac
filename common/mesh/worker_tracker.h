// What is known about one address, as a state machine without threads, sockets or clock: discovery
// feeds it messages and moments, tests do the same.
//
//   connecting ──message──▶ fresh ──1.5 s silence, or stream broken──▶ suspect
//        ▲                    ▲                                           │
//        │                    └──────────────message──────────────────────┤
//        └── never heard                                 5 s silence, or connecting failed
//                                                                         ▼
//                                                                        dead ──message──▶ fresh
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/clock.h"
#include "mesh/fleet.h"

namespace conclave::mesh {

struct WorkerTimes {
  std::chrono::milliseconds suspect_after{1'500};
  std::chrono::milliseconds dead_after{5'000};
  std::chrono::milliseconds reconnect_min{50};
  std::chrono::milliseconds reconnect_max{1'000};
};

// Thread-compatible.
class WorkerTracker final {
 public:
  WorkerTracker(std::string address, std::shared_ptr<WorkerLink> link, const WorkerTimes& times);

  // A Watch stream has been opened.
  void OnConnect(base::SteadyTime now);
  void OnState(const conclave::v1::WorkerState& state, base::SteadyTime now);
  // The stream has ended, for whatever reason. When to open the next one: reconnect_at().
  void OnStreamEnd(base::SteadyTime now);
  // Ages the health. True when it changed.
  bool Tick(base::SteadyTime now);

  bool streaming() const { return streaming_; }
  base::SteadyTime reconnect_at() const { return reconnect_at_; }
  // The stream is open but silent for dead_after: break it off, it is half-open.
  bool stuck(base::SteadyTime now) const;

  // The current knowledge; a new object after each change.
  const std::shared_ptr<const WorkerInfo>& info() const { return info_; }

 private:
  void SetHealth(WorkerHealth health);

  const WorkerTimes times_;
  std::shared_ptr<const WorkerInfo> info_;
  bool streaming_ = false;
  bool heard_on_stream_ = false;   // a message on the present stream
  int failures_ = 0;               // streams in a row without a message
  base::SteadyTime last_heard_{};  // the last message
  base::SteadyTime opened_{};      // the present stream
  base::SteadyTime reconnect_at_{};
};

}  // namespace conclave::mesh
