// The OpenAI dialect's tables (dialects/coverage.h).
#pragma once

#include <span>

#include "gateway/dialects/coverage.h"

namespace conclave::gateway::openai {

Coverage DialectCoverage();

// Its parts: chat, completions, embeddings, models; assistants, threads, runs.
std::span<const Endpoint> GenerationEndpoints();
std::span<const Endpoint> AssistantEndpoints();

}  // namespace conclave::gateway::openai
