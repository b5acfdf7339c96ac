// POST /v1/chat/completions: the request.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "conclave/v1/inference.pb.h"
#include "gateway/dialects/openai/sampling.h"

namespace conclave::gateway::openai {

// What calls are named in the answer: tool_calls, or function_call as at first.
enum class CallWords { kTools, kFunctions };

struct ChatRequest {
  v1::GenerateRequest generate;
  CallWords call_words = CallWords::kTools;
  std::set<std::string> custom_tools;  // names of those whose input is a text
  StreamOptions stream;
  Reports reports;
};

// INVALID_ARGUMENT and UNIMPLEMENTED name the field. A conversation that brings no system message
// gets `default_system_prompt` unless that is empty.
absl::StatusOr<ChatRequest> DecodeChatRequest(std::string_view body,
                                              std::string_view default_system_prompt);

// Parts shared with other dialects and with assistants.

// messages, tools, tool_choice, parallel_tool_calls or functions and function_call, and the
// variables of the template: all that a prompt is rendered from.
absl::StatusOr<CallWords> ReadConversation(base::JsonValue root,
                                           std::string_view default_system_prompt,
                                           v1::ChatPrompt* chat);
absl::Status ReadFunctionTool(base::JsonValue function, v1::Tool* tool);
absl::Status ReadTools(base::JsonValue tools, v1::ChatPrompt* chat);
bool HasTool(const v1::ChatPrompt& chat, std::string_view name);
// Of other dialects: each is read by `read`, its name stands in `name_field` and may not come
// twice.
absl::Status ReadToolList(base::JsonValue tools, std::string_view name_field,
                          absl::Status (*read)(base::JsonValue, v1::Tool*), v1::ChatPrompt* chat);
// After ReadTools: a named tool must be one of them.
absl::Status ReadToolChoice(base::JsonValue choice, v1::ChatPrompt* chat);
absl::Status CheckFunctionName(base::JsonValue name);
// "none", "low", …: told to the template, and a limit to the reasoning.
void ApplyEffort(std::string_view effort, v1::ChatPrompt* chat);

}  // namespace conclave::gateway::openai
