// A conversation as the variables a chat template expects: messages, tools and the rest.
#pragma once

#include <string_view>

#include "engine/chat/conversation.h"
#include "engine/chat/jinja_eval.h"

namespace conclave::engine {

// How a template wants the arguments of earlier tool calls, and whether it knows system messages;
// found out by trying (template.cc).
struct TemplateHabits {
  bool arguments_as_text = false;  // as JSON text, not as an object
  bool knows_system = true;        // if not, system text goes in front of the first user message
};

// All strings but the well-known roles count as the conversation's. INVALID_ARGUMENT names the tool
// or variable whose JSON is malformed.
absl::StatusOr<jinja::Variables> ConversationVariables(const Conversation& conversation,
                                                       const TemplateHabits& habits);

// JSON text as a template value; its strings count as the conversation's.
absl::StatusOr<jinja::Value> ValueOfJson(std::string_view json);

}  // namespace conclave::engine
