// Which workers exist, what they serve and how busy they are. Each target is watched over one Watch
// stream per address; the stream is the lease. Inference and embedding workers alike: make one
// Discovery for each kind.
//
//   ASSIGN_OR_RETURN(auto workers, Discovery::Start({.targets = {"inference-worker:50051"}}));
//   std::shared_ptr<const Fleet> fleet = workers->fleet();
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/options.h"
#include "base/status.h"
#include "mesh/channel.h"
#include "mesh/fleet.h"

namespace conclave::mesh {

struct DiscoveryOptions {
  // host:port each. A literal address is one worker; a name is resolved again and again, and every
  // address behind it (a Kubernetes headless service) is a worker.
  std::vector<std::string> targets;
  std::string caller_id;  // told to the workers; empty = drawn
  ClientTls tls;
  std::chrono::milliseconds resolve_every{2'000};
  std::chrono::milliseconds suspect_after{1'500};
  std::chrono::milliseconds dead_after{5'000};
  std::chrono::milliseconds reconnect_max{1'000};
  int workers_max = 256;  // further addresses are ignored, with a log line
  // conclave_workers{kind,health}; may be null, else must outlive the discovery.
  base::Metrics* metrics = nullptr;
  std::string kind = "inference";
};

// Thread-safe.
class Discovery final {
 public:
  // INVALID_ARGUMENT: a target is not host:port, or the TLS files cannot be read. Does not wait for
  // any worker.
  static absl::StatusOr<std::unique_ptr<Discovery>> Start(DiscoveryOptions options);
  ~Discovery();  // ends the streams and joins; every client over it must be gone
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // Never null; one atomic load.
  std::shared_ptr<const Fleet> fleet() const;

  // Called after every change of the snapshot, on a thread of discovery's, one call at a time; must
  // not block. Keep the returned object as long as calls may come: its destruction waits for a
  // running call and ends them.
  class Subscription {
   public:
    virtual ~Subscription() = default;
  };
  std::unique_ptr<Subscription> Subscribe(std::function<void(const Fleet&)> changed);

  // Waits until `condition` holds for the snapshot. False at the deadline. For start-up and tests.
  bool WaitFor(const std::function<bool(const Fleet&)>& condition,
               std::chrono::milliseconds timeout);

 private:
  struct Impl;
  explicit Discovery(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::mesh
