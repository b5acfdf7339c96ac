// Tools for models whose chat template tells of none: the conversation tells of them in words.
#pragma once

#include "engine/chat/conversation.h"
#include "engine/chat/parsers/call_syntax.h"

namespace conclave::backends {

struct ToolWords {
  const engine::CallSyntax* calls = nullptr;  // how the model is asked to write them
  bool of_user = false;  // not every template has a place for the system's words
  // Calls and what tools returned become text as well: the template knows no such messages.
  bool rewrite_messages = false;
};

// Without tools: they are in its first message.
engine::Conversation WithToolsInWords(const engine::Conversation& conversation,
                                      const ToolWords& words);

}  // namespace conclave::backends
