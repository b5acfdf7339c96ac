// The wiring of one inference worker: host, services, listener. main.cc gives it options and
// signals, tests run it in process.
//
//   Worker worker(options);
//   RETURN_IF_ERROR(worker.Start());       // serves; models may still be loading
//   worker.NotReady(); worker.Drain(deadline); worker.Stop();
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "mesh/server.h"
#include "worker/blob_store.h"
#include "worker/blobs_service.h"
#include "worker/files_service.h"
#include "worker/generate_stream.h"
#include "worker/inference_service.h"
#include "worker/model_host.h"
#include "worker/models_service.h"
#include "worker/slots_service.h"
#include "worker/worker_metrics.h"

namespace conclave::worker {

struct WorkerOptions {
  std::string worker_id;  // empty = host name and port
  mesh::ServerOptions server;
  HostOptions host;  // memory_budget 0: most of what the machine has free now
  StreamOptions stream;
  std::string blob_dir;  // of uploaded and pulled files; a model folder too. Empty = takes none
  int64_t blob_bytes_max = int64_t{256} << 30;
  // How long a file stays there that no model names; 0 = for ever.
  std::chrono::milliseconds blob_unnamed_for{std::chrono::hours(24)};
  std::vector<std::string> pull_from;  // folders and URLs
};

// Start to Stop from one thread; the rest is thread-safe.
class Worker final {
 public:
  explicit Worker(WorkerOptions options);
  ~Worker();  // stops
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // NOT_FOUND, PERMISSION_DENIED: the blob folder or a source cannot be used.
  absl::Status Start();
  int port() const { return server_.port(); }
  const std::string& worker_id() const { return identity_.worker_id; }
  ModelHost& host() { return host_; }
  base::Metrics& metrics() { return metrics_; }

  // Ready once the listener is up and no model is loading for the first time, unless all there are
  // have failed. Empty, or why not.
  std::string WhyNotReady() const;

  void NotReady();
  // Streams finish; false when some were cut off at the deadline.
  bool Drain(base::SteadyTime deadline);
  void Stop();

 private:
  absl::Status OpenFiles();

  WorkerOptions options_;
  WorkerIdentity identity_;
  base::Metrics metrics_;
  ModelHost host_;
  WorkerMetrics worker_metrics_;
  mesh::Server server_;
  std::unique_ptr<InferenceService> inference_;
  std::unique_ptr<ModelsService> models_;
  std::unique_ptr<SlotsService> slots_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<Puller> puller_;  // over blobs_
  std::unique_ptr<FilesService> files_;
  std::unique_ptr<BlobsService> collector_;
};

}  // namespace conclave::worker
