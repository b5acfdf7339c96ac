// How fast this machine reads memory right now. Decoding reads every active weight once per token,
// so this is the limit a rate is held against; under a neighbour's load it changes by factors,
// hence measured anew with each run.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace conclave::engine {

// Bytes per second of `num_threads` threads summing a buffer larger than any cache, the best of
// several passes. Takes about a second. RESOURCE_EXHAUSTED without the memory.
absl::StatusOr<double> MeasureReadBandwidth(int num_threads, int64_t buffer_bytes = 1 << 30);

}  // namespace conclave::engine
