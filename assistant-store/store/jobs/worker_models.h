// Load and unload on the workers, for threads that may wait.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/status.h"
#include "conclave/v1/blobs.pb.h"
#include "conclave/v1/registrations.pb.h"
#include "mesh/discovery.h"
#include "mesh/files_client.h"
#include "mesh/models_client.h"

namespace conclave::store {

// Thread-safe.
class WorkerModels final {
 public:
  explicit WorkerModels(mesh::Discovery* discovery);  // must outlive it
  ~WorkerModels();                                    // stops
  WorkerModels(const WorkerModels&) = delete;
  WorkerModels& operator=(const WorkerModels&) = delete;

  std::shared_ptr<const mesh::Fleet> fleet() const { return discovery_->fleet(); }

  // The model's state once it is ready, or what it is after `patience` when the worker has begun to
  // load it and not objected (it goes on). Else the worker's refusal; CANCELLED after Stop.
  absl::StatusOr<conclave::v1::ModelStatus> Load(
      const std::string& worker_id, const conclave::v1::ModelRegistration& registration,
      std::chrono::milliseconds patience);
  // OK also when the worker does not have it, or still lets streams of it end.
  absl::Status Unload(const std::string& worker_id, const std::string& name,
                      std::chrono::milliseconds patience);

  absl::StatusOr<conclave::v1::CollectBlobsReply> CollectBlobs(
      const std::string& worker_id, const conclave::v1::CollectBlobsRequest& request,
      std::chrono::milliseconds patience);

  // Whoever waits returns. For good.
  void Stop();

 private:
  struct Waiting;  // shared with callbacks, which may come later than all else
  mesh::Discovery* const discovery_;
  mesh::ModelsClient client_;
  mesh::FilesClient files_;
  const std::shared_ptr<Waiting> waiting_;
};

// What the worker is asked for.
conclave::v1::LoadModelRequest LoadRequestOf(const conclave::v1::ModelRegistration& registration);

}  // namespace conclave::store
