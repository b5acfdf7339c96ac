#include "gateway/dialects/anthropic/conversation.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/dialects/anthropic/client_tools.h"
#include "gateway/dialects/openai/chat_request.h"

namespace conclave::gateway::anthropic {
namespace {

using base::JsonValue;

constexpr std::string_view kTurnBreak = "\n\n";
constexpr std::string_view kToolFailed = "Error: ";

// "toolu_x" → "call_x": the id under which the model wrote the call.
std::string CallIdOf(std::string_view id) {
  constexpr std::string_view kPrefix = "toolu_";
  if (id.substr(0, kPrefix.size()) == kPrefix) {
    return "call_" + std::string(id.substr(kPrefix.size()));
  }
  return std::string(id);
}

// Reads one message after the other into the conversation.
class TurnReader final {
 public:
  explicit TurnReader(v1::ChatPrompt* chat) : chat_(chat) {}

  absl::Status ReadMessage(JsonValue message) {
    RETURN_IF_ERROR(message.ExpectObject());
    ASSIGN_OR_RETURN(const v1::Role role, ReadRole(message.Get("role")));
    begins_ = true;
    const JsonValue content = message.Get("content");
    if (content.is_string()) {
      ASSIGN_OR_RETURN(std::string text, content.AsString());
      AddText(role, std::move(text));
      return absl::OkStatus();
    }
    if (!content.is_array()) return content.Error("expected string or array");
    const bool assistant = role == v1::ROLE_ASSISTANT;
    // An assistant that had nothing to say answered with no blocks, and clients send that back.
    if (content.size() == 0 && !assistant) return content.Error("must not be empty");
    if (assistant) Turn(role);
    for (size_t i = 0; i < content.size(); ++i) RETURN_IF_ERROR(ReadBlock(role, content.At(i)));
    return absl::OkStatus();
  }

  void Finish() {
    for (v1::ChatMessage& message : *chat_->mutable_messages()) {
      if (message.content().empty()) message.set_content_is_null(true);
    }
  }

 private:
  static absl::StatusOr<v1::Role> ReadRole(JsonValue role) {
    ASSIGN_OR_RETURN(const std::string name, role.AsString());
    if (name == "user") return v1::ROLE_USER;
    if (name == "assistant") return v1::ROLE_ASSISTANT;
    if (name == "system") return v1::ROLE_SYSTEM;
    return role.Error("expected user, assistant or system");
  }

  // The message that further content of the role belongs to.
  v1::ChatMessage* Turn(v1::Role role) {
    auto* messages = chat_->mutable_messages();
    const bool goes_on = !messages->empty() && messages->rbegin()->role() == role;
    v1::ChatMessage* turn = goes_on ? &*messages->rbegin() : messages->Add();
    turn->set_role(role);
    if (goes_on && begins_ && !turn->content().empty()) {
      turn->add_content()->set_text(std::string(kTurnBreak));
    }
    begins_ = false;
    return turn;
  }

  void AddText(v1::Role role, std::string text) {
    Turn(role)->add_content()->set_text(std::move(text));
  }

  absl::Status ReadBlock(v1::Role role, JsonValue block) {
    RETURN_IF_ERROR(block.ExpectObject());
    ASSIGN_OR_RETURN(const std::string type, block.Get("type").AsString());
    if (type == "text") {
      ASSIGN_OR_RETURN(std::string text, block.Get("text").AsString());
      AddText(role, std::move(text));
      return absl::OkStatus();
    }
    if (role == v1::ROLE_USER && type == "tool_result") return ReadToolResult(block);
    if (role == v1::ROLE_ASSISTANT) {
      if (type == "tool_use") return ReadToolUse(block);
      if (type == "thinking") {
        ASSIGN_OR_RETURN(const std::string thinking, block.Get("thinking").AsString());
        Turn(role)->mutable_reasoning()->append(thinking);
        return absl::OkStatus();
      }
      // Only who encrypted it could read it.
      if (type == "redacted_thinking") return block.Get("data").AsString().status();
    }
    // Images, documents and what other servers' tools make: refused before anything is fetched.
    return Unsupported(block, type);
  }

  static absl::Status Unsupported(JsonValue block, const std::string& type) {
    return block.Get("type").Error("a block of type \"" + type + "\" is not supported here");
  }

  absl::Status ReadToolUse(JsonValue block) {
    ASSIGN_OR_RETURN(const std::string id, block.Get("id").AsString());
    ASSIGN_OR_RETURN(std::string name, block.Get("name").AsString());
    const JsonValue input = block.Get("input");
    RETURN_IF_ERROR(input.ExpectObject());
    v1::ToolCall* call = Turn(v1::ROLE_ASSISTANT)->add_tool_calls();
    call->set_id(CallIdOf(id));
    call->set_arguments(input.ToJson());
    tool_of_call_[call->id()] = name;
    call->set_name(std::move(name));
    return absl::OkStatus();
  }

  absl::Status ReadToolResult(JsonValue block) {
    const JsonValue id = block.Get("tool_use_id");
    ASSIGN_OR_RETURN(const std::string text, id.AsString());
    const auto call = tool_of_call_.find(CallIdOf(text));
    if (call == tool_of_call_.end()) {
      return id.Error("no tool_use block before this one has the id");
    }
    v1::ChatMessage* message = chat_->add_messages();
    message->set_role(v1::ROLE_TOOL);
    message->set_tool_call_id(call->first);
    message->set_name(call->second);
    ASSIGN_OR_RETURN(const std::optional<bool> failed, block.Get("is_error").OptionalBool());
    // No template has a place for it, so it is said in words.
    if (failed.value_or(false)) message->add_content()->set_text(std::string(kToolFailed));
    return ReadResultContent(block.Get("content"), message);
  }

  static absl::Status ReadResultContent(JsonValue content, v1::ChatMessage* message) {
    if (content.missing() || content.is_string()) {
      ASSIGN_OR_RETURN(std::optional<std::string> text, content.OptionalString());
      message->add_content()->set_text(std::move(text).value_or(std::string()));
      return absl::OkStatus();
    }
    if (!content.is_array()) return content.Error("expected string or array");
    for (size_t i = 0; i < content.size(); ++i) {
      const JsonValue part = content.At(i);
      RETURN_IF_ERROR(part.ExpectObject());
      ASSIGN_OR_RETURN(const std::string type, part.Get("type").AsString());
      if (type != "text") return Unsupported(part, type);
      ASSIGN_OR_RETURN(std::string text, part.Get("text").AsString());
      message->add_content()->set_text(std::move(text));
    }
    return absl::OkStatus();
  }

  v1::ChatPrompt* const chat_;
  std::map<std::string, std::string> tool_of_call_;  // name by id of a call
  bool begins_ = true;                               // nothing of this message was read yet
};

absl::Status ReadSystem(JsonValue system, std::string_view default_system_prompt,
                        v1::ChatPrompt* chat) {
  v1::ChatMessage message;
  message.set_role(v1::ROLE_SYSTEM);
  if (system.missing()) {
    if (default_system_prompt.empty()) return absl::OkStatus();
    message.add_content()->set_text(std::string(default_system_prompt));
  } else if (system.is_string()) {
    ASSIGN_OR_RETURN(std::string text, system.AsString());
    message.add_content()->set_text(std::move(text));
  } else {
    if (!system.is_array()) return system.Error("expected string or array");
    for (size_t i = 0; i < system.size(); ++i) {
      const JsonValue block = system.At(i);
      RETURN_IF_ERROR(block.ExpectObject());
      ASSIGN_OR_RETURN(const std::string type, block.Get("type").AsString());
      if (type != "text") return block.Get("type").Error("only \"text\" blocks are supported");
      ASSIGN_OR_RETURN(std::string text, block.Get("text").AsString());
      message.add_content()->set_text(std::move(text));
    }
  }
  if (!message.content().empty()) *chat->add_messages() = std::move(message);
  return absl::OkStatus();
}

// A tool that is known by its type alone. Those that run at Anthropic (web_search_…) cannot be had.
absl::Status ReadTypedTool(JsonValue from, const std::string& type, v1::Tool* tool) {
  const ClientTool* const known = FindClientTool(type);
  if (known == nullptr) {
    return from.Get("type").Error("\"" + type + "\" tools are not supported by this server");
  }
  ASSIGN_OR_RETURN(const std::string name, from.Get("name").AsString());
  if (name != known->name) {
    return from.Get("name").Error("a \"" + type + "\" tool is named " + known->name);
  }
  tool->set_name(name);
  tool->set_description(known->description);
  tool->set_parameters_json(known->input_schema);
  tool->set_place(from.Get("type").path());
  ASSIGN_OR_RETURN(const std::optional<bool> strict, from.Get("strict").OptionalBool());
  tool->set_strict(strict.value_or(false));
  return absl::OkStatus();
}

absl::Status ReadTool(JsonValue from, v1::Tool* tool) {
  RETURN_IF_ERROR(from.ExpectObject());
  ASSIGN_OR_RETURN(const std::optional<std::string> type, from.Get("type").OptionalString());
  if (type.value_or("custom") != "custom") return ReadTypedTool(from, *type, tool);
  RETURN_IF_ERROR(openai::CheckFunctionName(from.Get("name")));
  ASSIGN_OR_RETURN(std::string name, from.Get("name").AsString());
  tool->set_name(std::move(name));
  ASSIGN_OR_RETURN(std::optional<std::string> description,
                   from.Get("description").OptionalString());
  tool->set_description(std::move(description).value_or(std::string()));
  const JsonValue schema = from.Get("input_schema");
  RETURN_IF_ERROR(schema.ExpectObject());
  tool->set_parameters_json(schema.ToJson());
  tool->set_place(schema.path());
  ASSIGN_OR_RETURN(const std::optional<bool> strict, from.Get("strict").OptionalBool());
  tool->set_strict(strict.value_or(false));
  return absl::OkStatus();
}

// {"type":"auto"|"any"|"tool"|"none","name","disable_parallel_tool_use"}; after ReadTools.
absl::Status ReadToolChoice(JsonValue choice, v1::ChatPrompt* chat) {
  chat->set_parallel_tool_calls(true);
  if (choice.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(choice.ExpectObject());
  v1::ToolChoice* out = chat->mutable_tool_choice();
  const JsonValue type = choice.Get("type");
  ASSIGN_OR_RETURN(const std::string mode, type.AsString());
  if (mode == "none") {
    out->set_mode(v1::ToolChoice::MODE_NONE);
  } else if (mode == "auto") {
    out->set_mode(v1::ToolChoice::MODE_AUTO);
  } else if (mode == "any") {
    if (chat->tools().empty()) return type.Error("there are no tools to choose from");
    out->set_mode(v1::ToolChoice::MODE_REQUIRED);
  } else if (mode == "tool") {
    ASSIGN_OR_RETURN(std::string name, choice.Get("name").AsString());
    if (!openai::HasTool(*chat, name))
      return choice.Get("name").Error("no tool of this name is given");
    out->set_mode(v1::ToolChoice::MODE_NAMED);
    out->set_name(std::move(name));
  } else {
    return type.Error("expected auto, any, tool or none");
  }
  ASSIGN_OR_RETURN(const std::optional<bool> single,
                   choice.Get("disable_parallel_tool_use").OptionalBool());
  chat->set_parallel_tool_calls(!single.value_or(false));
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadConversation(JsonValue root, std::string_view default_system_prompt,
                              v1::ChatPrompt* chat) {
  RETURN_IF_ERROR(ReadSystem(root.Get("system"), default_system_prompt, chat));
  const JsonValue messages = root.Get("messages");
  RETURN_IF_ERROR(messages.ExpectArray());
  if (messages.size() == 0) return messages.Error("at least one message is required");
  TurnReader turns(chat);
  for (size_t i = 0; i < messages.size(); ++i) RETURN_IF_ERROR(turns.ReadMessage(messages.At(i)));
  turns.Finish();
  RETURN_IF_ERROR(openai::ReadToolList(root.Get("tools"), "name", ReadTool, chat));
  return ReadToolChoice(root.Get("tool_choice"), chat);
}

}  // namespace conclave::gateway::anthropic
