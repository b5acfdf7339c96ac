// System prompt, messages and tools of Anthropic's wire as the one conversation of protos/.
//
// Its turns hold blocks of several kinds: a tool's result is a block of a user's turn there and a
// message of its own here, and turns of one role in a row are one turn. Ids of calls are "toolu_…"
// there and "call_…" here.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "conclave/v1/content.pb.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::anthropic {

// Reads `system`, `messages`, `tools` and `tool_choice` from the root. A conversation without a
// system prompt gets `default_system_prompt` unless that is empty. INVALID_ARGUMENT names the
// field; blocks and tools that this server cannot serve are refused by their type.
absl::Status ReadConversation(base::JsonValue root, std::string_view default_system_prompt,
                              v1::ChatPrompt* chat);

}  // namespace conclave::gateway::anthropic
