// A conversation as plain data: what the chat template renders and what the parsers give back.
// A leaf header.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace conclave::engine {

struct ToolCall {
  std::string id;  // "call_…"
  std::string name;
  std::string arguments;  // JSON text of an object
};

struct Message {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
  // nullopt content differs from "" for templates that test `content is none`.
  bool content_is_null = false;
  std::string reasoning;
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;  // of a tool message
  std::string name;
};

struct Tool {
  std::string name;
  std::string description;
  std::string parameters;  // JSON schema text; "" = none
  bool strict = false;
  std::string place;  // what the caller calls the parameters ("tools[0].function.parameters")
};

struct Conversation {
  std::vector<Message> messages;
  std::vector<Tool> tools;
  bool add_generation_prompt = true;
  // The prompt ends where the content of the last message does; without a generation prompt.
  bool continue_final_message = false;
  // Passed to the template by name: JSON text per variable (enable_thinking → "false").
  std::vector<std::pair<std::string, std::string>> template_variables;
};

}  // namespace conclave::engine
