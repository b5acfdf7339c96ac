// The wiring of one embedding worker; main.cc gives it options and signals, tests run it in
// process.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "embed/embedding_service.h"
#include "embed/model_slot.h"
#include "embed/worker_service.h"
#include "mesh/server.h"

namespace conclave::embed {

struct EmbedWorkerOptions {
  SlotOptions slot;
  // What the digest is of, read once in the background; empty = none is told.
  std::vector<std::string> digest_files;
};

// Start to Stop from one thread; the rest is thread-safe.
class EmbedWorker final {
 public:
  EmbedWorker(std::unique_ptr<ServedModel> model, const mesh::ServerOptions& server,
              std::string worker_id, EmbedWorkerOptions options = {});
  ~EmbedWorker();  // stops
  EmbedWorker(const EmbedWorker&) = delete;
  EmbedWorker& operator=(const EmbedWorker&) = delete;

  absl::Status Start();
  int port() const { return server_.port(); }
  // Empty, or why not.
  std::string WhyNotReady() const { return server_.ready() ? "" : "not serving"; }
  base::Metrics& metrics() { return metrics_; }
  ModelSlot& slot() { return slot_; }

  void NotReady();
  // Requests finish; false when some were cut off at the deadline.
  bool Drain(base::SteadyTime deadline);
  void Stop();

 private:
  void Collect();

  base::Metrics metrics_;
  ModelSlot slot_;
  mesh::Server server_;
  EmbeddingService embedding_;
  WorkerService worker_;
  base::Gauge waiting_;
  base::Gauge running_;
  const std::vector<std::string> digest_files_;
  std::jthread digester_;
};

}  // namespace conclave::embed
