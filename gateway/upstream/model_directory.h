// Model names → what the workers report of them, both kinds of workers together.
#pragma once

#include <vector>

#include "gateway/upstream/services.h"
#include "mesh/discovery.h"

namespace conclave::gateway {

class FleetDirectory final : public ModelDirectory {
 public:
  // Both must outlive the directory; `embedding` may be null.
  FleetDirectory(mesh::Discovery* inference, mesh::Discovery* embedding);

  std::vector<v1::ModelStatus> List() const override;

 private:
  mesh::Discovery* const inference_;
  mesh::Discovery* const embedding_;
};

// Joins two sorted lists by name. A name that both have is the inference worker's, with the
// capabilities of both.
std::vector<v1::ModelStatus> JoinModels(std::vector<v1::ModelStatus> inference,
                                        std::vector<v1::ModelStatus> embedding);

}  // namespace conclave::gateway
