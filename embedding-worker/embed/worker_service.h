// conclave.v1.Worker for an embedding worker: the one model it was started with, no others.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "base/task_pool.h"
#include "conclave/v1/models.grpc.pb.h"
#include "embed/model_slot.h"
#include "mesh/watch_hub.h"

namespace conclave::embed {

// Thread-safe. Destroy it after the server has stopped.
class WorkerService final : public conclave::v1::Worker::CallbackService {
 public:
  WorkerService(ModelSlot* slot, std::string worker_id, uint64_t epoch);

  void SetState(bool serving, bool draining);
  // Of the model's file, once it is known.
  void SetDigest(std::string digest);

  grpc::ServerWriteReactor<conclave::v1::WorkerState>* Watch(
      grpc::CallbackServerContext* context, const conclave::v1::WatchRequest* request) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const conclave::v1::ListModelsRequest* request,
                                       conclave::v1::ListModelsReply* reply) override;
  grpc::ServerUnaryReactor* KeepModel(grpc::CallbackServerContext* context,
                                      const conclave::v1::KeepModelRequest* request,
                                      conclave::v1::KeepModelReply* reply) override;

 private:
  void Describe(conclave::v1::ModelStatus* to) const;
  void FillState(conclave::v1::WorkerState* state) const;

  absl::Status Keep(const conclave::v1::KeepModelRequest& request,
                    conclave::v1::KeepModelReply* reply);

  ModelSlot* const slot_;
  const std::string worker_id_;
  const uint64_t epoch_;
  std::atomic<bool> serving_{false};
  std::atomic<bool> draining_{false};
  mutable std::mutex mutex_;
  std::string digest_;
  mesh::WatchHub hub_;
  base::TaskPool slow_;  // loads, and waits for what goes
};

}  // namespace conclave::embed
