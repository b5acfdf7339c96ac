// The wiring of one embedding worker; main.cc gives it options and signals, tests run it in
// process.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "embed/embedding_service.h"
#include "embed/served_model.h"
#include "embed/worker_service.h"
#include "mesh/server.h"

namespace conclave::embed {

// Start to Stop from one thread; the rest is thread-safe.
class EmbedWorker final {
 public:
  EmbedWorker(std::unique_ptr<ServedModel> model, const mesh::ServerOptions& server,
              std::string worker_id);
  ~EmbedWorker();  // stops
  EmbedWorker(const EmbedWorker&) = delete;
  EmbedWorker& operator=(const EmbedWorker&) = delete;

  absl::Status Start();
  int port() const { return server_.port(); }
  // Empty, or why not.
  std::string WhyNotReady() const { return server_.ready() ? "" : "not serving"; }
  base::Metrics& metrics() { return metrics_; }
  ServedModel& model() { return *model_; }

  void NotReady();
  // Requests finish; false when some were cut off at the deadline.
  bool Drain(base::SteadyTime deadline);
  void Stop();

 private:
  void Collect();

  base::Metrics metrics_;
  const std::unique_ptr<ServedModel> model_;
  mesh::Server server_;
  EmbeddingService embedding_;
  WorkerService worker_;
  base::Gauge waiting_;
  base::Gauge running_;
};

}  // namespace conclave::embed
