// What only the workers know, asked of all of them at once and joined.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gateway/upstream/gathering.h"
#include "gateway/upstream/services.h"
#include "mesh/discovery.h"

namespace conclave::gateway {

class FleetAdmin final : public WorkerAdmin {
 public:
  // Both must outlive it; `embedding` may be null.
  FleetAdmin(mesh::Discovery* inference, mesh::Discovery* embedding);

  Call<v1::KeepModelReply> KeepModel(v1::KeepModelRequest request,
                                     base::SteadyTime deadline) override;
  Call<ModelPlans> PlanModel(v1::PlanModelRequest request, base::SteadyTime deadline) override;
  Call<v1::GetExpertsReply> GetExperts(v1::GetExpertsRequest request,
                                       base::SteadyTime deadline) override;
  Call<v1::CountSlotsReply> CountSlots(v1::CountSlotsRequest request,
                                       base::SteadyTime deadline) override;
  Call<v1::ListProvidersReply> ListProviders(v1::ListProvidersRequest request,
                                             base::SteadyTime deadline) override;
  Call<v1::GetModelLogsReply> GetModelLogs(v1::GetModelLogsRequest request,
                                           base::SteadyTime deadline) override;
  Call<v1::ClearModelLogsReply> ClearModelLogs(v1::ClearModelLogsRequest request,
                                               base::SteadyTime deadline) override;

 private:
  // The usable inference workers that have the model; all usable ones when it is empty.
  absl::StatusOr<std::vector<AskedWorker>> Workers(std::string_view model);
  // Those of both kinds that are to let go of a model.
  absl::StatusOr<std::vector<AskedWorker>> Holders(std::string_view model);
  // The one that a request for the model would go to.
  absl::StatusOr<std::vector<AskedWorker>> Pick(const std::string& model);

  mesh::Discovery* const workers_;
  mesh::Discovery* const embedding_;
  mesh::ModelsClient client_;
  std::optional<mesh::ModelsClient> embedding_client_;
};

// The joined answers; an error when none is there to be joined.
absl::StatusOr<v1::KeepModelReply> JoinKept(std::vector<WorkerAnswer<v1::KeepModelReply>> answers);
absl::StatusOr<v1::GetExpertsReply> JoinExperts(
    std::vector<WorkerAnswer<v1::GetExpertsReply>> answers);
absl::StatusOr<v1::CountSlotsReply> JoinSlots(
    std::vector<WorkerAnswer<v1::CountSlotsReply>> answers);
absl::StatusOr<v1::ListProvidersReply> JoinProviders(
    std::vector<WorkerAnswer<v1::ListProvidersReply>> answers);
// `limit` newest, 0 = all.
absl::StatusOr<v1::GetModelLogsReply> JoinLogs(
    std::vector<WorkerAnswer<v1::GetModelLogsReply>> answers, int limit);
absl::StatusOr<v1::ClearModelLogsReply> JoinCleared(
    std::vector<WorkerAnswer<v1::ClearModelLogsReply>> answers);

}  // namespace conclave::gateway
