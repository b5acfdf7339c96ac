// A model's recipe in Ollama's words, as /api/show tells it.
#pragma once

#include <string>
#include <string_view>

#include "conclave/v1/models.pb.h"

namespace conclave::gateway::ollama {

// One "name value" line for each parameter, sorted; strings in quotes; an array is one line each.
std::string ParametersText(std::string_view parameters_json);

// FROM, TEMPLATE, SYSTEM, PARAMETER, MESSAGE, LICENSE.
std::string Modelfile(const v1::ModelStatus& model);

// "user", "assistant", "system".
std::string_view RoleWord(v1::Role role);
std::string TextOf(const v1::ChatMessage& message);

}  // namespace conclave::gateway::ollama
