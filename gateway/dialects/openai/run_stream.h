// A run's events as named SSE events, live to the end: a terminal status or requires_action.
#pragma once

#include "gateway/upstream/services.h"

namespace conclave::gateway::openai {

// Begins after the events that `run` already tells of (Run.event_seq).
Task<void> StreamRun(const Services& services, Exchange& exchange, const v1::Run& run);

}  // namespace conclave::gateway::openai
