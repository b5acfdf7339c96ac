// One token through the whole model before the first request: weights are paged in, threads run,
// scratch is touched.
#pragma once

#include "engine/run/executor.h"

namespace conclave::engine {

// Writes KV block 0, which nobody holds yet.
absl::Status WarmUp(Executor& executor);

}  // namespace conclave::engine
