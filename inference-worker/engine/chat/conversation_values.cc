#include "engine/chat/conversation_values.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"

namespace conclave::engine {
namespace {

using jinja::Dict;
using jinja::Text;
using jinja::Value;

Value UserText(const std::string& text) { return Value(Text::FromUser(text)); }

Value DictValue(Dict dict) { return Value(std::make_shared<const Dict>(std::move(dict))); }

// Templates build markup around the role ('<|' + role + '|>'), so these count as the template's own
// text. Any other role could complete a special token and stays the conversation's.
Value RoleValue(const std::string& role) {
  constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  const bool known = std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
  return known ? Value::Own(role) : UserText(role);
}

absl::StatusOr<Value> ToValue(const base::JsonValue& json) {
  if (json.is_object()) {
    Dict dict;
    absl::Status status;
    json.ForEachMember([&](std::string_view key, const base::JsonValue& member) {
      if (!status.ok()) return;
      absl::StatusOr<Value> value = ToValue(member);
      status = value.status();
      if (status.ok()) dict.Set(UserText(std::string(key)), *std::move(value));
    });
    RETURN_IF_ERROR(status);
    return DictValue(std::move(dict));
  }
  if (json.is_array()) {
    std::vector<Value> items;
    items.reserve(json.size());
    for (size_t i = 0; i < json.size(); ++i) {
      ASSIGN_OR_RETURN(Value item, ToValue(json.At(i)));
      items.push_back(std::move(item));
    }
    return Value::ListOf(std::move(items));
  }
  if (json.is_string()) {
    ASSIGN_OR_RETURN(const std::string text, json.AsString());
    return UserText(text);
  }
  if (json.is_bool()) {
    ASSIGN_OR_RETURN(const bool flag, json.AsBool());
    return Value(flag);
  }
  if (json.is_integer()) {
    ASSIGN_OR_RETURN(const int64_t integer, json.AsInt());
    return Value(integer);
  }
  if (json.is_number()) {
    // Integers up to 2^64 are kept to the digit.
    const std::string digits = json.ToJson();
    if (digits.find_first_not_of("0123456789") == std::string::npos) return Value::Integer(digits);
    ASSIGN_OR_RETURN(const double number, json.AsNumber());
    return Value(number);
  }
  return Value(jinja::None{});
}

Value ToolCallValue(const ToolCall& call, const TemplateHabits& habits) {
  Dict function;
  function.Set(Value::Own("name"), UserText(call.name));
  // A model may have written arguments that are no JSON; they are shown as they are.
  const auto arguments = habits.arguments_as_text
                             ? absl::StatusOr<Value>(UserText(call.arguments))
                             : ValueOfJson(call.arguments.empty() ? "{}" : call.arguments);
  function.Set(Value::Own("arguments"), arguments.ok() ? *arguments : UserText(call.arguments));
  Dict dict;
  dict.Set(Value::Own("id"), UserText(call.id));
  dict.Set(Value::Own("type"), Value::Own("function"));
  dict.Set(Value::Own("function"), DictValue(std::move(function)));
  return DictValue(std::move(dict));
}

Value MessageValue(const Message& message, const TemplateHabits& habits) {
  Dict dict;
  dict.Set(Value::Own("role"), RoleValue(message.role));
  dict.Set(Value::Own("content"),
           message.content_is_null ? Value(jinja::None{}) : UserText(message.content));
  if (!message.reasoning.empty()) {
    // Templates have three names for it.
    for (const char* name : {"reasoning_content", "reasoning", "thinking"}) {
      dict.Set(Value::Own(name), UserText(message.reasoning));
    }
  }
  if (!message.tool_calls.empty()) {
    std::vector<Value> calls;
    for (const ToolCall& call : message.tool_calls) calls.push_back(ToolCallValue(call, habits));
    dict.Set(Value::Own("tool_calls"), Value::ListOf(std::move(calls)));
  }
  if (!message.tool_call_id.empty()) {
    dict.Set(Value::Own("tool_call_id"), UserText(message.tool_call_id));
  }
  if (!message.name.empty()) dict.Set(Value::Own("name"), UserText(message.name));
  return DictValue(std::move(dict));
}

// For templates that refuse or drop system messages: their text opens the first user message.
std::vector<Message> WithoutSystem(const std::vector<Message>& messages) {
  std::vector<Message> kept;
  std::string system;
  for (const Message& message : messages) {
    if (message.role == "system" || message.role == "developer") {
      system += message.content + "\n\n";
      continue;
    }
    kept.push_back(message);
    if (message.role == "user" && !system.empty()) {
      kept.back().content = std::exchange(system, "") + message.content;
    }
  }
  if (!system.empty()) {
    system.resize(system.size() - 2);
    kept.insert(kept.begin(), Message{.role = "user", .content = system});
  }
  return kept;
}

absl::StatusOr<Value> ToolsValue(const std::vector<Tool>& tools) {
  if (tools.empty()) return Value(jinja::None{});
  std::vector<Value> values;
  for (size_t i = 0; i < tools.size(); ++i) {
    const Tool& tool = tools[i];
    constexpr std::string_view kNoParameters = R"({"type":"object","properties":{}})";
    const std::string_view schema =
        tool.parameters.empty() ? kNoParameters : std::string_view(tool.parameters);
    auto parameters = ValueOfJson(schema);
    if (!parameters.ok()) {
      return base::Annotate(parameters.status(), absl::StrCat("tools[", i, "].parameters"));
    }
    Dict function;
    function.Set(Value::Own("name"), UserText(tool.name));
    function.Set(Value::Own("description"), UserText(tool.description));
    function.Set(Value::Own("parameters"), *std::move(parameters));
    Dict dict;
    dict.Set(Value::Own("type"), Value::Own("function"));
    dict.Set(Value::Own("function"), DictValue(std::move(function)));
    values.push_back(DictValue(std::move(dict)));
  }
  return Value::ListOf(std::move(values));
}

}  // namespace

absl::StatusOr<Value> ValueOfJson(std::string_view json) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(json));
  return ToValue(document.root());
}

absl::StatusOr<jinja::Variables> ConversationVariables(const Conversation& conversation,
                                                       const TemplateHabits& habits) {
  const std::vector<Message> folded =
      habits.knows_system ? std::vector<Message>{} : WithoutSystem(conversation.messages);
  std::vector<Value> messages;
  for (const Message& message : habits.knows_system ? conversation.messages : folded) {
    messages.push_back(MessageValue(message, habits));
  }
  ASSIGN_OR_RETURN(Value tools, ToolsValue(conversation.tools));
  jinja::Variables variables;
  variables.emplace_back("messages", Value::ListOf(std::move(messages)));
  variables.emplace_back("tools", std::move(tools));
  variables.emplace_back("documents", Value(jinja::None{}));
  variables.emplace_back("add_generation_prompt", Value(conversation.add_generation_prompt));
  for (const auto& [name, json] : conversation.template_variables) {
    absl::StatusOr<Value> value = ValueOfJson(json);
    if (!value.ok()) return base::Annotate(value.status(), "template variable " + name);
    variables.emplace_back(name, *std::move(value));
  }
  return variables;
}

}  // namespace conclave::engine
