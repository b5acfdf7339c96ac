// Model names → what the workers report of them, both kinds of workers together.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gateway/upstream/registered_models.h"
#include "gateway/upstream/services.h"
#include "mesh/discovery.h"
#include "mesh/models_client.h"

namespace conclave::gateway {

class FleetDirectory final : public ModelDirectory {
 public:
  // All must outlive the directory; `embedding` and `registered` may be null.
  FleetDirectory(mesh::Discovery* inference, mesh::Discovery* embedding,
                 const RegisteredModels* registered = nullptr);

  std::vector<v1::ModelStatus> List() const override;
  std::vector<v1::WorkerState> Workers() const override;
  Call<v1::ListModelsReply> Ask(base::SteadyTime deadline) override;
  Call<v1::ListModelsReply> Describe(const std::string& name, base::SteadyTime deadline) override;

 private:
  std::optional<v1::ModelStatus> FindLost(std::string_view name) const override;

  mesh::Discovery* const inference_;
  mesh::Discovery* const embedding_;
  const RegisteredModels* const registered_;
  mesh::ModelsClient inference_models_;
  std::optional<mesh::ModelsClient> embedding_models_;
};

// Without those that a worker only tries: somebody wants to register them, and the worker, which
// knows nothing of them yet, may refuse. `is_registered`: the store has the name by now.
std::vector<v1::ModelStatus> WithoutTried(
    std::vector<v1::ModelStatus> models,
    const std::function<bool(const std::string& name)>& is_registered);

// Joins two sorted lists by name. A name that both have is the inference worker's, with the
// capabilities of both.
std::vector<v1::ModelStatus> JoinModels(std::vector<v1::ModelStatus> inference,
                                        std::vector<v1::ModelStatus> embedding);

}  // namespace conclave::gateway
