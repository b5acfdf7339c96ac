// Model names as Ollama writes them: [host/][namespace/]model[:tag], tag "latest" when there is
// none, upper and lower case alike.
#pragma once

#include <string>
#include <string_view>

#include "gateway/dialects/timestamps.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway::ollama {

// "teacher" → "teacher:latest"; a name with a tag stays.
std::string Tagged(std::string_view name);
// "teacher:latest" → "teacher": what a model is registered as.
std::string Untagged(std::string_view name);

// The model's own name. NOT_FOUND "model 'x' not found".
absl::StatusOr<std::string> ResolveModel(const ModelDirectory& models, const std::string& name);

}  // namespace conclave::gateway::ollama
