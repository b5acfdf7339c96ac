// The models of one worker: details, load, unload, plan. What exists where is discovery's; these go
// to a worker chosen by the caller (by worker_id, as the snapshot names it).
#pragma once

#include <memory>
#include <string>

#include "conclave/v1/models.pb.h"
#include "conclave/v1/slots.pb.h"
#include "mesh/inference_client.h"

namespace conclave::mesh {

// Thread-safe. Callbacks come on threads of gRPC's, exactly once each (progress: any number
// before).
class ModelsClient final {
 public:
  explicit ModelsClient(Discovery* discovery);  // must outlive the client
  ~ModelsClient();
  ModelsClient(const ModelsClient&) = delete;
  ModelsClient& operator=(const ModelsClient&) = delete;

  // An empty worker_id = the first usable worker that has `model`, or any when `model` is empty
  // too. NOT_FOUND (model_not_found) or UNAVAILABLE (no_worker) when there is none.
  struct Target {
    std::string worker_id;
    std::string model;
  };

  std::shared_ptr<CallHandle> ListModels(const Target& target,
                                         conclave::v1::ListModelsRequest request,
                                         const CallOptions& options,
                                         ReplyCallback<conclave::v1::ListModelsReply> done);
  // `done` gets the last state.
  std::shared_ptr<CallHandle> LoadModel(
      const Target& target, conclave::v1::LoadModelRequest request, const CallOptions& options,
      absl::AnyInvocable<void(const conclave::v1::ModelStatus&)> progress,
      ReplyCallback<conclave::v1::ModelStatus> done);
  std::shared_ptr<CallHandle> UnloadModel(const Target& target,
                                          conclave::v1::UnloadModelRequest request,
                                          const CallOptions& options,
                                          ReplyCallback<conclave::v1::UnloadModelReply> done);
  std::shared_ptr<CallHandle> KeepModel(const Target& target,
                                        conclave::v1::KeepModelRequest request,
                                        const CallOptions& options,
                                        ReplyCallback<conclave::v1::KeepModelReply> done);
  std::shared_ptr<CallHandle> PlanModel(const Target& target,
                                        conclave::v1::PlanModelRequest request,
                                        const CallOptions& options,
                                        ReplyCallback<conclave::v1::PlanModelReply> done);
  std::shared_ptr<CallHandle> GetExperts(const Target& target,
                                         conclave::v1::GetExpertsRequest request,
                                         const CallOptions& options,
                                         ReplyCallback<conclave::v1::GetExpertsReply> done);
  std::shared_ptr<CallHandle> CountSlots(const Target& target,
                                         conclave::v1::CountSlotsRequest request,
                                         const CallOptions& options,
                                         ReplyCallback<conclave::v1::CountSlotsReply> done);
  std::shared_ptr<CallHandle> ListProviders(const Target& target,
                                            conclave::v1::ListProvidersRequest request,
                                            const CallOptions& options,
                                            ReplyCallback<conclave::v1::ListProvidersReply> done);
  std::shared_ptr<CallHandle> GetModelLogs(const Target& target,
                                           conclave::v1::GetModelLogsRequest request,
                                           const CallOptions& options,
                                           ReplyCallback<conclave::v1::GetModelLogsReply> done);
  std::shared_ptr<CallHandle> ClearModelLogs(const Target& target,
                                             conclave::v1::ClearModelLogsRequest request,
                                             const CallOptions& options,
                                             ReplyCallback<conclave::v1::ClearModelLogsReply> done);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::mesh
