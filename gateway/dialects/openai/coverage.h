// The OpenAI dialect's tables (dialects/coverage.h).
#pragma once

#include <span>

#include "gateway/dialects/coverage.h"

namespace conclave::gateway::openai {

Coverage DialectCoverage();

// Its parts: chat, completions, embeddings, models; assistants, threads, runs.
std::span<const Endpoint> GenerationEndpoints();
std::span<const Endpoint> AssistantEndpoints();
std::span<const Endpoint> DeploymentEndpoints();

// What Azure has below a model's name in the path.
inline constexpr std::string_view kDeployment = "/openai/deployments/{deployment}";
inline constexpr std::string_view kDeployed[] = {"/chat/completions", "/completions",
                                                 "/embeddings"};

}  // namespace conclave::gateway::openai
