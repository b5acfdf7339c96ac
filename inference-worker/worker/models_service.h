// conclave.v1.Worker: what this worker is, what it serves, and how busy it is.
#pragma once

#include <atomic>
#include <functional>

#include "base/task_pool.h"
#include "conclave/v1/models.grpc.pb.h"
#include "mesh/watch_hub.h"
#include "worker/generate_stream.h"
#include "worker/model_host.h"

namespace conclave::worker {

// Thread-safe. Destroy it after the server has stopped.
class ModelsService final : public conclave::v1::Worker::CallbackService {
 public:
  ModelsService(ModelHost* host, WorkerIdentity identity);
  ~ModelsService() override;

  // Watch says so within 50 ms. `serving` false with `draining` false: not up yet, or broken.
  void SetState(bool serving, bool draining);

  grpc::ServerWriteReactor<conclave::v1::WorkerState>* Watch(
      grpc::CallbackServerContext* context, const conclave::v1::WatchRequest* request) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const conclave::v1::ListModelsRequest* request,
                                       conclave::v1::ListModelsReply* reply) override;
  grpc::ServerWriteReactor<conclave::v1::LoadModelProgress>* LoadModel(
      grpc::CallbackServerContext* context, const conclave::v1::LoadModelRequest* request) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context,
                                        const conclave::v1::UnloadModelRequest* request,
                                        conclave::v1::UnloadModelReply* reply) override;
  grpc::ServerUnaryReactor* KeepModel(grpc::CallbackServerContext* context,
                                      const conclave::v1::KeepModelRequest* request,
                                      conclave::v1::KeepModelReply* reply) override;
  grpc::ServerUnaryReactor* PlanModel(grpc::CallbackServerContext* context,
                                      const conclave::v1::PlanModelRequest* request,
                                      conclave::v1::PlanModelReply* reply) override;
  grpc::ServerUnaryReactor* GetExperts(grpc::CallbackServerContext* context,
                                       const conclave::v1::GetExpertsRequest* request,
                                       conclave::v1::GetExpertsReply* reply) override;
  grpc::ServerUnaryReactor* ListProviders(grpc::CallbackServerContext* context,
                                          const conclave::v1::ListProvidersRequest* request,
                                          conclave::v1::ListProvidersReply* reply) override;
  grpc::ServerUnaryReactor* GetModelLogs(grpc::CallbackServerContext* context,
                                         const conclave::v1::GetModelLogsRequest* request,
                                         conclave::v1::GetModelLogsReply* reply) override;
  grpc::ServerUnaryReactor* ClearModelLogs(grpc::CallbackServerContext* context,
                                           const conclave::v1::ClearModelLogsRequest* request,
                                           conclave::v1::ClearModelLogsReply* reply) override;

 private:
  void FillState(conclave::v1::WorkerState* state) const;
  // How the model is now, when `status` is OK.
  absl::Status Redescribe(const absl::Status& status, const std::string& name,
                          conclave::v1::KeepModelReply* reply) const;

  ModelHost* const host_;
  const WorkerIdentity identity_;
  std::atomic<bool> serving_{false};
  std::atomic<bool> draining_{false};
  mesh::WatchHub hub_;
  base::TaskPool slow_;  // loads and unloads wait here
};

}  // namespace conclave::worker
