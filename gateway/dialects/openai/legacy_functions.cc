#include "gateway/dialects/openai/legacy_functions.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/dialects/openai/chat_request.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;

// "none", "auto", {"name"}: another function cannot be called then.
absl::Status ReadFunctionChoice(JsonValue choice, v1::ChatPrompt* chat) {
  v1::ToolChoice* const to = chat->mutable_tool_choice();
  if (choice.is_object()) {
    const JsonValue name = choice.Get("name");
    ASSIGN_OR_RETURN(std::string function, name.AsString());
    if (!HasTool(*chat, function)) return name.Error("no function of this name is given");
    to->set_mode(v1::ToolChoice::MODE_NAMED);
    to->set_name(std::move(function));
    return absl::OkStatus();
  }
  const std::string mode = choice.is_string() ? choice.AsString().value_or("") : "";
  if (mode != "none" && mode != "auto") {
    return choice.Error("expected none, auto or the name of a function");
  }
  to->set_mode(mode == "none" ? v1::ToolChoice::MODE_NONE : v1::ToolChoice::MODE_AUTO);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> ReadFunctions(JsonValue root, v1::ChatPrompt* chat) {
  const JsonValue functions = root.Get("functions");
  const JsonValue choice = root.Get("function_call");
  const bool given = !functions.missing() && !(functions.is_array() && functions.size() == 0);
  if (!given) {
    if (choice.missing()) return false;
    return choice.Error("only allowed together with functions");
  }
  for (const std::string_view field : {"tools", "tool_choice", "parallel_tool_calls"}) {
    if (!root.Get(field).missing()) {
      return functions.Error(absl::StrCat("not allowed together with ", std::string(field)));
    }
  }
  RETURN_IF_ERROR(ReadToolList(functions, "name", ReadFunctionTool, chat));
  chat->set_parallel_tool_calls(false);
  if (!choice.missing()) RETURN_IF_ERROR(ReadFunctionChoice(choice, chat));
  return true;
}

absl::Status ReadFunctionCall(JsonValue call, size_t place, v1::ChatMessage* message) {
  if (call.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(call.ExpectObject());
  ASSIGN_OR_RETURN(std::string name, call.Get("name").AsString());
  ASSIGN_OR_RETURN(std::string arguments, call.Get("arguments").AsString());
  v1::ToolCall* const to = message->add_tool_calls();
  // Nine letters and digits: there are templates that want exactly so many.
  std::string digits = std::to_string(place % 100'000);
  digits.insert(0, 5 - digits.size(), '0');
  to->set_id("call" + digits);
  to->set_name(std::move(name));
  to->set_arguments(std::move(arguments));
  return absl::OkStatus();
}

void LinkFunctionResults(v1::ChatPrompt* chat) {
  for (int i = 0; i < chat->messages_size(); ++i) {
    v1::ChatMessage* const result = chat->mutable_messages(i);
    if (result->role() != v1::ROLE_TOOL || !result->tool_call_id().empty()) continue;
    for (int k = i - 1; k >= 0 && result->tool_call_id().empty(); --k) {
      for (const v1::ToolCall& call : chat->messages(k).tool_calls()) {
        if (call.name() == result->name()) result->set_tool_call_id(call.id());
      }
    }
  }
}

}  // namespace conclave::gateway::openai
