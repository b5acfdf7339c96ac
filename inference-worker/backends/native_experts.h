// What our engine says of experts that it shares between a device and the processors.
#pragma once

#include "backends/backend.h"
#include "engine/engine.h"

namespace conclave::backends {

ExpertReport ReportExperts(const engine::Engine& engine);

}  // namespace conclave::backends
