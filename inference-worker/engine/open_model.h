// A model on its device: planned, loaded, and planned smaller while the device's memory runs out.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "engine/options.h"
#include "engine/placement/expert_placement.h"
#include "engine/placement/plan.h"
#include "engine/run/executor.h"
#include "engine/run/weigh_model.h"
#include "engine/weights/source.h"

namespace conclave::engine {

struct OpenedModel {
  std::unique_ptr<Executor> executor;  // has computed its first step
  KvPlan kv;
  StepSize step;
  std::string device;
  std::string placement;  // ExpertPlan::ToString(), where a plan was made
  int64_t active_bytes_per_token = 0;
  int64_t kv_bytes_per_token = 0;
  int64_t memory_bytes = 0;  // weights, cache and what a step needs
  int64_t device_bytes = 0;  // of them in a device's own memory
  bool moves_experts = false;
};

// What lies where of a model with experts on a GPU of `device_bytes`, in a machine that has
// `host_bytes` available: nothing for models without experts, and for those of which Open has more
// to say. RESOURCE_EXHAUSTED as PlanExperts.
absl::StatusOr<std::optional<ExpertPlan>> PlanForDevice(const ModelSource& source,
                                                        const EngineOptions& options,
                                                        int64_t device_bytes, int64_t host_bytes);

// Errors as Engine::Open.
absl::StatusOr<OpenedModel> OpenOnDevice(const ModelSource& source, const EngineOptions& options);

}  // namespace conclave::engine
