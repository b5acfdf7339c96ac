// A small HTTP/1.1 server for probes and metrics, on a thread of its own so that a busy service
// still answers: /livez and /healthz, /readyz, /metrics. GET and HEAD only, no body, at most 64
// connections, 5 s per request. Everything else is 404 or 405.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/status.h"

namespace conclave::mesh {

struct ProbeHandlers {
  // Empty = alive; else why not (503). Absent = always alive.
  std::function<std::string()> live;
  // Empty = ready; else why not (503). Absent = always ready.
  std::function<std::string()> ready;
  // The exposition text (base/metrics.h Metrics::Text). Absent = 404.
  std::function<std::string()> metrics;
};

// The handlers run on the probe thread and must not block.
class ProbeServer final {
 public:
  // `listen` host:port, e.g. "127.0.0.1:9051". UNAVAILABLE when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<ProbeServer>> Start(const std::string& listen,
                                                            ProbeHandlers handlers);
  ~ProbeServer();  // closes the connections and joins
  ProbeServer(const ProbeServer&) = delete;
  ProbeServer& operator=(const ProbeServer&) = delete;

  int port() const;

 private:
  struct Impl;
  explicit ProbeServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::mesh
