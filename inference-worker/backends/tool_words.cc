#include "backends/tool_words.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/log.h"

namespace conclave::backends {
namespace {

using engine::Message;

std::string Example(const engine::CallSyntax& calls) {
  std::string text = absl::StrCat(std::string(calls.section_begin), calls.list ? "[" : "",
                                  std::string(calls.call_begin), "NAME", calls.numbered ? ":0" : "",
                                  std::string(calls.name_end));
  if (calls.form == engine::CallSyntax::Form::kTags) {
    absl::StrAppend(&text, std::string(calls.key_begin), "ARGUMENT", std::string(calls.key_end),
                    "VALUE", calls.value_on_lines ? "\n" : "", std::string(calls.value_end),
                    std::string(calls.after_value));
  } else {
    text += "{\"ARGUMENT\": VALUE}";
  }
  return text + std::string(calls.call_end) + std::string(calls.section_end);
}

std::string Instruction(const std::vector<engine::Tool>& tools, const engine::CallSyntax& calls) {
  std::string text = "You may call these functions:\n<tools>\n";
  for (const engine::Tool& tool : tools) {
    absl::StrAppend(&text, "{\"name\": ", base::JsonQuote(tool.name),
                    ", \"description\": ", base::JsonQuote(tool.description),
                    ", \"parameters\": ", tool.parameters.empty() ? "{}" : tool.parameters, "}\n");
  }
  absl::StrAppend(&text, "</tools>\nTo call one, answer with nothing but\n", Example(calls));
  return text;
}

std::string CallText(const engine::ToolCall& call) {
  return absl::StrCat("<tool_call>\n{\"name\": ", base::JsonQuote(call.name),
                      ", \"arguments\": ", call.arguments.empty() ? "{}" : call.arguments,
                      "}\n</tool_call>");
}

// Text of one role after text of the same: many templates insist that roles alternate.
void Append(std::string_view role, std::string_view text, std::vector<Message>* messages) {
  if (messages->empty() || messages->back().role != role) {
    messages->push_back({.role = std::string(role), .content = std::string(text)});
    return;
  }
  std::string& content = messages->back().content;
  absl::StrAppend(&content, content.empty() ? "" : "\n", std::string(text));
  messages->back().content_is_null = false;
}

void AddMessage(const Message& from, std::vector<Message>* messages) {
  if (from.role == "tool") {
    return Append("user", absl::StrCat("<tool_response>\n", from.content, "\n</tool_response>"),
                  messages);
  }
  const bool answers_tool = !messages->empty() && messages->back().role == "user" &&
                            messages->back().content.ends_with("</tool_response>");
  if (from.role == "user" && answers_tool) return Append("user", from.content, messages);
  messages->push_back(from);
  Message& message = messages->back();
  for (const engine::ToolCall& call : from.tool_calls) {
    absl::StrAppend(&message.content, message.content.empty() ? "" : "\n", CallText(call));
    message.content_is_null = false;
  }
  message.tool_calls.clear();
}

}  // namespace

engine::Conversation WithToolsInWords(const engine::Conversation& conversation,
                                      const ToolWords& words) {
  engine::Conversation told;
  told.add_generation_prompt = conversation.add_generation_prompt;
  told.continue_final_message = conversation.continue_final_message;
  told.template_variables = conversation.template_variables;
  std::string text = Instruction(conversation.tools, *words.calls);
  for (const Message& message : conversation.messages) {
    if (message.role == "system" && words.of_user) {
      absl::StrAppend(&text, "\n\n", message.content);
    } else if (words.rewrite_messages) {
      AddMessage(message, &told.messages);
    } else {
      told.messages.push_back(message);
    }
  }
  const std::string_view role = words.of_user ? "user" : "system";
  if (told.messages.empty() || told.messages.front().role != role) {
    told.messages.insert(told.messages.begin(), {.role = std::string(role), .content = text});
  } else {
    std::string& content = told.messages.front().content;
    content =
        words.of_user ? absl::StrCat(text, "\n\n", content) : absl::StrCat(content, "\n\n", text);
  }
  return told;
}

}  // namespace conclave::backends
