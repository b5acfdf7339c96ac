// Experts that change places while a model serves: one that the processors have goes to the device
// and one of the device's comes back for it, so that both keep as many as they had. Copies run
// beside the steps; between two steps what has arrived is put in place. Answers stay those of the
// model; which last bits they have follows from who has which experts, not from how that came to
// be.
//
//   RETURN_IF_ERROR(mover->Reserve(bytes));                       // at load
//   if (mover->ready()) RETURN_IF_ERROR(mover->Start(exchanges));  // between steps
//   ASSIGN_OR_RETURN(int64_t arrived, mover->Finish());           // between later ones
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/quant/panel.h"

namespace conclave::engine {

// The stacks of a layer whose experts are shared, as they lie in the two memories.
struct SharedExperts {
  // gate (no panels: none), up and down.
  struct Part {
    PanelKind kind = PanelKind::kF32;
    int64_t out = 0;
    int64_t in = 0;
    std::byte* device = nullptr;  // [device.size()] matrices in the device's panels
    std::byte* processors = nullptr;
    float* device_bias = nullptr;  // [device.size()][out], or none
    float* processors_bias = nullptr;
  };
  int32_t layer = 0;
  std::vector<int32_t> device;  // which expert each matrix is
  std::vector<int32_t> processors;
  std::array<Part, 3> parts;
  int32_t* places = nullptr;  // ExpertSplit's
};

struct ExpertExchange {
  int32_t layer = 0;
  int32_t in = 0;   // of the processors, goes to the device
  int32_t out = 0;  // of the device, goes to the processors
};

// How often each expert was chosen, [layer][expert]; layers that are not shared are empty.
using ExpertCounts = std::vector<std::vector<int64_t>>;

// Used by the thread that computes the steps.
class ExpertMover {
 public:
  virtual ~ExpertMover() = default;

  // At load, once for each layer; its memory outlives the steps.
  virtual void Share(SharedExperts experts) = 0;
  // Room for experts on their way, `bytes` at a time or one. RESOURCE_EXHAUSTED without memory:
  // nothing can be started then, all else goes on.
  virtual absl::Status Reserve(int64_t bytes) = 0;

  // As they are now; layers that are not shared have none.
  virtual std::vector<std::vector<int32_t>> DeviceExperts() const = 0;
  // Of one expert on its way; 0 for a layer that is not shared.
  virtual int64_t ExpertBytes(int32_t layer) const = 0;
  // Since the last call. UNAVAILABLE when the device has failed.
  virtual absl::StatusOr<ExpertCounts> TakeCounts() = 0;

  // Whether there is room to start more.
  virtual bool ready() const = 0;
  virtual bool idle() const = 0;  // nothing is on its way
  // As many of these, from the front, as there is room for; no expert that is on its way already.
  // How many were started. ABORTED when the driver refused: all stays as it is.
  virtual absl::StatusOr<int64_t> Start(std::span<const ExpertExchange> exchanges) = 0;
  // Puts what has arrived in place; how many did. UNAVAILABLE when the device has failed.
  virtual absl::StatusOr<int64_t> Finish() = 0;
};

}  // namespace conclave::engine
