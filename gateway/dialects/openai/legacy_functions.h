// functions and function_call, which is what tools and tool_choice were called at first. Both are
// read as tools; only the answer keeps the old words.
#pragma once

#include <cstddef>

#include "base/json.h"
#include "conclave/v1/content.pb.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::openai {

// functions and function_call of a request that has no tools: true when there are functions. The
// answer has one call at most, as it has a place for one. INVALID_ARGUMENT: together with a field
// of tools, or a choice without functions.
absl::StatusOr<bool> ReadFunctions(base::JsonValue root, v1::ChatPrompt* chat);

// function_call of an assistant's message, whose place in the conversation makes the id.
absl::Status ReadFunctionCall(base::JsonValue call, size_t place, v1::ChatMessage* message);

// Gives the messages of role "function" the id of the call that they answer, by its name.
void LinkFunctionResults(v1::ChatPrompt* chat);

}  // namespace conclave::gateway::openai
