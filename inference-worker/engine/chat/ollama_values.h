// A conversation as the variables that Ollama gives its templates:
// https://docs.ollama.com/modelfile#template.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/conversation.h"
#include "engine/chat/go_value.h"

namespace conclave::engine {

// Consecutive messages of one role are one, but for those of tools; `system` is what all system
// messages say.
struct Collated {
  std::string system;
  std::vector<Message> messages;
};
Collated Collate(const std::vector<Message>& messages);

// .Messages: what Ollama knows of a message. A model's arguments that are no JSON object are none.
gotmpl::Value MessagesValue(const std::vector<Message>& messages);

// .Tools, as far as Ollama's types hold a schema. INVALID_ARGUMENT names the tool whose JSON is
// malformed.
absl::StatusOr<gotmpl::Value> ToolsForGo(const std::vector<Tool>& tools);

// JSON text as Go reads it into an interface{}: numbers are float64.
absl::StatusOr<gotmpl::Value> GoValueOfJson(std::string_view json);

}  // namespace conclave::engine
