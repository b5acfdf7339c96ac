#include "tools/render_go.h"

#include <utility>

#include "base/json.h"
#include "engine/chat/go_parser.h"
#include "engine/chat/ollama_template.h"
#include "engine/chat/ollama_values.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

std::string TextOf(JsonValue value) { return value.AsString().value_or(""); }

std::string JsonOf(JsonValue value) { return value.present() ? value.ToJson() : std::string(); }

Message ReadMessage(JsonValue json) {
  Message message{.role = TextOf(json.Get("role")),
                  .content = TextOf(json.Get("content")),
                  .reasoning = TextOf(json.Get("thinking")),
                  .tool_call_id = TextOf(json.Get("tool_call_id")),
                  .name = TextOf(json.Get("tool_name"))};
  const JsonValue calls = json.Get("tool_calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    const JsonValue function = calls.At(i).Get("function");
    message.tool_calls.push_back({.id = TextOf(calls.At(i).Get("id")),
                                  .name = TextOf(function.Get("name")),
                                  .arguments = JsonOf(function.Get("arguments"))});
  }
  return message;
}

Conversation ReadConversation(JsonValue json) {
  Conversation conversation;
  const JsonValue messages = json.Get("messages"), tools = json.Get("tools");
  for (size_t i = 0; i < messages.size(); ++i) {
    conversation.messages.push_back(ReadMessage(messages.At(i)));
  }
  for (size_t i = 0; i < tools.size(); ++i) {
    const JsonValue function = tools.At(i).Get("function");
    conversation.tools.push_back({.name = TextOf(function.Get("name")),
                                  .description = TextOf(function.Get("description")),
                                  .parameters = JsonOf(function.Get("parameters"))});
  }
  const JsonValue think = json.Get("think");
  if (think.is_bool()) {
    conversation.template_variables.emplace_back("enable_thinking", think.ToJson());
  } else if (think.is_string()) {
    conversation.template_variables.emplace_back("enable_thinking", "true");
    conversation.template_variables.emplace_back("reasoning_effort", think.ToJson());
  }
  return conversation;
}

absl::Status Execute(std::string_view source, JsonValue json, gotmpl::Interpreter& in) {
  if (json.Get("data").present()) {
    ASSIGN_OR_RETURN(const gotmpl::Program program, gotmpl::ParseTemplate(source));
    ASSIGN_OR_RETURN(const gotmpl::Value data, GoValueOfJson(json.Get("data").ToJson()));
    return in.Execute(program, program.root, data);
  }
  ASSIGN_OR_RETURN(const OllamaTemplate parsed, OllamaTemplate::Parse(source));
  const std::string suffix = TextOf(json.Get("suffix"));
  if (!suffix.empty()) return parsed.RenderInfill(TextOf(json.Get("prompt")), suffix, in);
  if (!json.Get("messages").is_array()) {
    return base::InvalidArgument("variables: data, messages or suffix is required");
  }
  return parsed.Render(ReadConversation(json), in);
}

}  // namespace

absl::StatusOr<std::string> RenderGo(std::string_view source, std::string_view json,
                                     std::chrono::system_clock::time_point now) {
  const absl::StatusOr<base::JsonDocument> document = base::JsonDocument::Parse(json);
  if (!document.ok()) return base::Annotate(document.status(), "variables");
  gotmpl::Interpreter interpreter(jinja::Limits{}, now);
  const absl::Status status = Execute(source, document->root(), interpreter);
  if (!status.ok()) return base::Annotate(status, "template");
  return std::move(interpreter.TakeOutput().bytes);
}

}  // namespace conclave::engine
