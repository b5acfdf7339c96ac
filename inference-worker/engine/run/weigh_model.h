// What a model will take, from the header of its file: the model is opened as it would be, over
// weights that are not there and by kernels that only weigh them.
#pragma once

#include <memory>

#include "base/status.h"
#include "engine/models/hparams.h"
#include "engine/options.h"
#include "engine/placement/memory_plan.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// How large a step of an engine is.
struct StepSize {
  int32_t rows = 0;
  int32_t score_rows = 0;  // of a prompt that is scored
  int32_t logit_rows = 0;
};
StepSize StepSizeOf(const HParams& hparams, const EngineOptions& options);

struct WeighedModel {
  HParams hparams;
  MemoryNeeds needs;
};
// Of the weights only vectors (norms, biases) are read. Weights as CPU kernels hold them; other
// devices are taken to hold them as the file does. Errors as Engine::Open.
absl::StatusOr<WeighedModel> WeighModel(std::shared_ptr<const ModelSource> source,
                                        const EngineOptions& options);

}  // namespace conclave::engine
