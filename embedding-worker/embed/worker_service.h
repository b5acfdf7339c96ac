// conclave.v1.Worker for an embedding worker: the one model it was started with, no others.
#pragma once

#include <atomic>
#include <string>

#include "conclave/v1/models.grpc.pb.h"
#include "embed/served_model.h"
#include "mesh/watch_hub.h"

namespace conclave::embed {

// Thread-safe. Destroy it after the server has stopped.
class WorkerService final : public conclave::v1::Worker::CallbackService {
 public:
  WorkerService(ServedModel* model, std::string worker_id, uint64_t epoch);

  void SetState(bool serving, bool draining);

  grpc::ServerWriteReactor<conclave::v1::WorkerState>* Watch(
      grpc::CallbackServerContext* context, const conclave::v1::WatchRequest* request) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const conclave::v1::ListModelsRequest* request,
                                       conclave::v1::ListModelsReply* reply) override;

 private:
  void Describe(conclave::v1::ModelStatus* to) const;
  void FillState(conclave::v1::WorkerState* state) const;

  ServedModel* const model_;
  const std::string worker_id_;
  const uint64_t epoch_;
  std::atomic<bool> serving_{false};
  std::atomic<bool> draining_{false};
  mesh::WatchHub hub_;
};

}  // namespace conclave::embed
