// Tool definitions and the choice among them.
#pragma once

#include "base/json.h"
#include "conclave/v1/content.pb.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::llama_stack {

// tools, tool_choice, tool_prompt_format and tool_config of a chat. INVALID_ARGUMENT names the
// field; UNIMPLEMENTED for a system message that takes the place of the template's own tool prompt.
absl::Status ReadToolFields(base::JsonValue root, v1::ChatPrompt* chat);

}  // namespace conclave::gateway::llama_stack
