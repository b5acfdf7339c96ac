#include "gateway/dialects/ollama/chat_request.h"

#include <optional>
#include <string>
#include <utility>

#include "gateway/dialects/ollama/modelfile.h"
#include "gateway/dialects/openai/chat_request.h"

namespace conclave::gateway::ollama {
namespace {

using base::JsonValue;

constexpr size_t kCallsMax = 128;

absl::StatusOr<v1::Role> ReadRole(JsonValue role) {
  ASSIGN_OR_RETURN(const std::string name, role.AsString());
  if (name == "system") return v1::ROLE_SYSTEM;
  if (name == "user") return v1::ROLE_USER;
  if (name == "assistant") return v1::ROLE_ASSISTANT;
  if (name == "tool") return v1::ROLE_TOOL;
  return role.Error("invalid role: " + name);
}

// Arguments are an object on this wire; ids are optional and made up where they are missing.
absl::Status ReadToolCalls(JsonValue calls, v1::ChatMessage* message) {
  if (calls.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(calls.ExpectArray());
  if (calls.size() > kCallsMax) return calls.Error("too many calls");
  for (size_t i = 0; i < calls.size(); ++i) {
    const JsonValue function = calls.At(i).Get("function");
    RETURN_IF_ERROR(function.ExpectObject());
    v1::ToolCall* call = message->add_tool_calls();
    ASSIGN_OR_RETURN(const std::optional<std::string> id, calls.At(i).Get("id").OptionalString());
    call->set_id(id.value_or("call_" + std::to_string(i)));
    ASSIGN_OR_RETURN(std::string name, function.Get("name").AsString());
    call->set_name(std::move(name));
    const JsonValue arguments = function.Get("arguments");
    if (!arguments.missing()) RETURN_IF_ERROR(arguments.ExpectObject());
    call->set_arguments(arguments.missing() ? "{}" : arguments.ToJson());
  }
  return absl::OkStatus();
}

absl::Status ReadMessage(JsonValue value, v1::ChatMessage* message) {
  RETURN_IF_ERROR(value.ExpectObject());
  ASSIGN_OR_RETURN(const v1::Role role, ReadRole(value.Get("role")));
  message->set_role(role);
  ASSIGN_OR_RETURN(std::optional<std::string> content, value.Get("content").OptionalString());
  const bool null_content = role == v1::ROLE_ASSISTANT && content.value_or("").empty();
  if (null_content) {
    message->set_content_is_null(true);
  } else {
    message->add_content()->set_text(content.value_or(std::string()));
  }
  if (value.Get("images").size() > 0) {
    return value.Get("images").Error("this model does not support images");
  }
  ASSIGN_OR_RETURN(std::optional<std::string> thinking, value.Get("thinking").OptionalString());
  message->set_reasoning(thinking.value_or(std::string()));
  ASSIGN_OR_RETURN(std::optional<std::string> tool_name, value.Get("tool_name").OptionalString());
  message->set_name(tool_name.value_or(std::string()));
  ASSIGN_OR_RETURN(std::optional<std::string> call, value.Get("tool_call_id").OptionalString());
  message->set_tool_call_id(call.value_or(std::string()));
  return ReadToolCalls(value.Get("tool_calls"), message);
}

}  // namespace

absl::StatusOr<ChatRequest> DecodeChatRequest(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  ChatRequest request;
  ASSIGN_OR_RETURN(request.common, ReadCommon(root, &request.generate));
  v1::ChatPrompt* chat = request.generate.mutable_chat();
  const JsonValue messages = root.Get("messages");
  if (!messages.missing()) RETURN_IF_ERROR(messages.ExpectArray());
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(ReadMessage(messages.At(i), chat->add_messages()));
  }
  RETURN_IF_ERROR(openai::ReadTools(root.Get("tools"), chat));
  // Ollama ignores tool_choice and parallel_tool_calls; we do not.
  RETURN_IF_ERROR(openai::ReadToolChoice(root.Get("tool_choice"), chat));
  RETURN_IF_ERROR(ReadThink(root.Get("think"), chat));
  ASSIGN_OR_RETURN(const std::optional<bool> parallel,
                   root.Get("parallel_tool_calls").OptionalBool());
  chat->set_parallel_tool_calls(parallel.value_or(true));
  // Ollama's templates leave a last message of the assistant's open, so that the answer goes on.
  if (chat->messages_size() > 0) {
    const v1::ChatMessage& last = *chat->messages().rbegin();
    const std::string text = TextOf(last);
    const bool has_text = text.find_first_not_of(" \t\r\n") != std::string::npos;
    chat->set_continue_final_message(last.role() == v1::ROLE_ASSISTANT && has_text &&
                                     last.tool_calls().empty());
  }
  return request;
}

}  // namespace conclave::gateway::ollama
