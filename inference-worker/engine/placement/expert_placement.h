// Where the weights of a model lie that is larger than its GPU: all but the experts there, then the
// cache, then as many experts as fit; the machine's processors have the others. Decided once, from
// the numbers and the tensor table alone.
//
//   ExpertDemand demand = {.model = MeasureModel(source.tensors(), layers), .device_bytes =
//   budget}; ASSIGN_OR_RETURN(const ExpertPlan plan, PlanExperts(demand));
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// Bytes of a model's weights as a GPU packs them.
struct ModelBytes {
  struct Layer {
    int32_t experts = 0;       // 0: no mixture
    int64_t expert_bytes = 0;  // of one, gate, up, down and biases
  };

  int64_t dense = 0;          // attention, norms, routers, shared experts, dense networks
  int64_t tables = 0;         // embeddings and the output matrix
  std::vector<Layer> layers;  // [num_layers]

  int64_t experts() const;
};
ModelBytes MeasureModel(std::span<const TensorEntry> tensors, int32_t num_layers);

struct ExpertDemand {
  ModelBytes model;
  int64_t kv_bytes = 0;
  int64_t scratch_bytes = 0;  // activations, logits and what operations need
  int64_t device_bytes = 0;   // there are
  int64_t pinned_bytes = 0;   // of the machine's memory, for what goes to and fro
  int64_t host_bytes = std::numeric_limits<int64_t>::max();  // of it, that there are
  int32_t experts_per_layer = -1;  // wanted on the device; -1 = as many as fit
  // How often each expert is chosen, [layer][expert], any unit: the most chosen for their size come
  // first. Empty: every layer gets as many as the others, its first ones.
  std::vector<std::vector<double>> hotness;
};

struct ExpertPlan {
  DeviceExperts device;  // [layer][…]; empty: all are the device's
  ModelBytes model;
  int64_t kv_bytes = 0;
  int64_t scratch_bytes = 0;
  int64_t device_bytes = 0;
  int64_t device_expert_bytes = 0;
  int64_t pinned_bytes = 0;  // beside host_bytes()

  int64_t used_bytes() const;  // of the device
  int64_t host_bytes() const { return model.experts() - device_expert_bytes; }
  // One line: "GPU 5.9 of 6.0 GiB: …; DRAM 12.1 GiB: …".
  std::string ToString() const;
};

// RESOURCE_EXHAUSTED with the bytes wanted and those there are, when not even all but the experts
// fits, or not the experts that were asked for, or not the others the machine's memory.
absl::StatusOr<ExpertPlan> PlanExperts(const ExpertDemand& demand);

}  // namespace conclave::engine
