#include "engine/chat/ollama_values.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/json.h"
#include "engine/chat/go_functions.h"

namespace conclave::engine {
namespace {

using base::JsonValue;
using gotmpl::List;
using gotmpl::Map;
using gotmpl::Struct;
using gotmpl::Text;
using gotmpl::Value;
using gotmpl::Wording;

Value UserText(std::string text) { return Value(Text::FromUser(std::move(text))); }

Struct::Field Member(std::string name, std::string json, Value value, bool omit_empty = false) {
  return {.name = Text(std::move(name)),
          .json = Text(std::move(json)),
          .omit_empty = omit_empty,
          .value = std::move(value)};
}

Value Strings(std::vector<std::string> texts, std::string_view type, Wording wording) {
  List list{.type = type, .wording = wording, .nil = texts.empty()};
  for (std::string& text : texts) list.items.push_back(UserText(std::move(text)));
  return Value(std::move(list));
}

// ---- JSON

Value AnyValue(const JsonValue& json) {
  if (json.is_object()) {
    Map map;
    json.ForEachMember([&](std::string_view key, const JsonValue& member) {
      map.items.emplace_back(Text::FromUser(std::string(key)), AnyValue(member));
    });
    map.Sort();
    return Value(std::move(map));
  }
  if (json.is_array()) {
    List list;
    for (size_t i = 0; i < json.size(); ++i) list.items.push_back(AnyValue(json.At(i)));
    return Value(std::move(list));
  }
  if (json.is_string()) return UserText(json.AsString().value_or(""));
  if (json.is_bool()) return Value(json.AsBool().value_or(false));
  if (json.is_number()) return Value(json.AsNumber().value_or(0));
  return Value::Nil();
}

std::vector<std::string> StringsOf(const JsonValue& json) {
  std::vector<std::string> texts;
  if (json.is_string()) texts.push_back(json.AsString().value_or(""));
  for (size_t i = 0; json.is_array() && i < json.size(); ++i) {
    if (json.At(i).is_string()) texts.push_back(json.At(i).AsString().value_or(""));
  }
  return texts;
}

std::string StringOf(const JsonValue& json) {
  return json.is_string() ? json.AsString().value_or("") : std::string();
}

Value AnyOrNil(const JsonValue& json) { return json.missing() ? Value::Nil() : AnyValue(json); }

// ---- tools

Value PropertyValue(const JsonValue& schema);

// An object's properties in the order they were given, which only JSON shows.
Value PropertiesInOrder(const JsonValue& properties) {
  constexpr std::string_view kType = "api.ToolPropertiesMap";
  if (!properties.is_object()) return Value::NilPointer(kType);
  Struct ordered{.type = kType, .pointer = true, .opaque = true};
  Map map{.type = "map[string]api.ToolProperty"};
  properties.ForEachMember([&](std::string_view key, const JsonValue& member) {
    const Text name = Text::FromUser(std::string(key));
    const Value property = PropertyValue(member);
    ordered.fields.push_back({.name = name, .json = name, .value = property});
    map.items.emplace_back(name, property);
  });
  map.Sort();
  ordered.methods = {{"Len", Value(static_cast<int64_t>(map.items.size()))},
                     {"ToMap", Value(std::move(map))}};
  return Value(std::move(ordered));
}

std::string TypeScriptOf(const JsonValue& schema) {
  std::vector<std::string> types;
  const JsonValue any_of = schema.Get("anyOf");
  for (size_t i = 0; any_of.is_array() && i < any_of.size(); ++i) {
    types.push_back(TypeScriptOf(any_of.At(i)));
  }
  if (types.empty()) {
    for (const std::string& type : StringsOf(schema.Get("type"))) {
      types.emplace_back(gotmpl::TypeScriptName(type));
    }
  }
  return types.empty() ? "any" : absl::StrJoin(types, " | ");
}

Value PropertyValue(const JsonValue& schema) {
  const JsonValue any_of = schema.Get("anyOf");
  List choices{.type = "[]api.ToolProperty", .nil = !any_of.is_array()};
  for (size_t i = 0; any_of.is_array() && i < any_of.size(); ++i) {
    choices.items.push_back(PropertyValue(any_of.At(i)));
  }
  const JsonValue enumeration = schema.Get("enum");
  List values{.nil = !enumeration.is_array()};
  for (size_t i = 0; enumeration.is_array() && i < enumeration.size(); ++i) {
    values.items.push_back(AnyValue(enumeration.At(i)));
  }
  Struct property{.type = "api.ToolProperty"};
  property.fields = {
      Member("AnyOf", "anyOf", Value(std::move(choices)), true),
      Member("Type", "type",
             Strings(StringsOf(schema.Get("type")), "api.PropertyType", Wording::kWords), true),
      Member("Items", "items", AnyOrNil(schema.Get("items")), true),
      Member("Description", "description", UserText(StringOf(schema.Get("description"))), true),
      Member("Enum", "enum", Value(std::move(values)), true),
      Member("Properties", "properties", PropertiesInOrder(schema.Get("properties")), true),
      Member("Required", "required",
             Strings(StringsOf(schema.Get("required")), "[]string", Wording::kNone), true)};
  property.methods = {{"ToTypeScriptType", Value::Own(TypeScriptOf(schema))}};
  return Value(std::move(property));
}

Value ParametersValue(const JsonValue& schema) {
  const JsonValue properties = schema.Get("properties");
  Map map{.type = "template.templateProperties",
          .wording = Wording::kJson,
          .nil = !properties.is_object(),
          .absent = std::make_shared<const Value>(PropertyValue(JsonValue()))};
  properties.ForEachMember([&](std::string_view key, const JsonValue& member) {
    map.items.emplace_back(Text::FromUser(std::string(key)), PropertyValue(member));
  });
  map.Sort();
  const std::vector<std::string> types = StringsOf(schema.Get("type"));
  Struct parameters{.type = "template.templateToolFunctionParameters", .wording = Wording::kJson};
  parameters.fields = {
      Member("Type", "type", UserText(types.empty() ? "" : types.front())),
      Member("Defs", "$defs", AnyOrNil(schema.Get("$defs")), true),
      Member("Items", "items", AnyOrNil(schema.Get("items")), true),
      Member("Required", "required",
             Strings(StringsOf(schema.Get("required")), "[]string", Wording::kNone), true),
      Member("Properties", "properties", Value(std::move(map)))};
  return Value(std::move(parameters));
}

// ---- messages

// Templates build markup around the role, so the known ones count as the template's own text.
Value RoleValue(const std::string& role) {
  constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  const bool known = std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
  return known ? Value::Own(role) : UserText(role);
}

Value CallValue(const ToolCall& call, size_t index) {
  const auto parsed = GoValueOfJson(call.arguments.empty() ? "{}" : call.arguments);
  Map arguments;
  if (parsed.ok() && parsed->is_map()) arguments = parsed->as_map();
  arguments.type = "template.templateArgs";
  arguments.wording = Wording::kJson;
  Struct function{.type = "template.templateToolCallFunction"};
  function.fields = {Member("Index", "Index", Value(static_cast<int64_t>(index))),
                     Member("Name", "Name", UserText(call.name)),
                     Member("Arguments", "Arguments", Value(std::move(arguments)))};
  Struct of{.type = "template.templateToolCall"};
  of.fields = {Member("ID", "ID", UserText(call.id)),
               Member("Function", "Function", Value(std::move(function)))};
  return Value(std::move(of));
}

// The tools that earlier messages call, by the ids of the calls.
using CalledTools = absl::flat_hash_map<std::string, std::string>;

// What a tool is called, even where its answer only says which call it answers.
std::string ToolNameOf(const Message& answer, const CalledTools& called) {
  if (answer.role != "tool") return "";
  const auto found = called.find(answer.tool_call_id);
  return answer.name.empty() && found != called.end() ? found->second : answer.name;
}

Value MessageValue(const Message& message, std::string tool_name) {
  List calls{.type = "[]template.templateToolCall", .nil = message.tool_calls.empty()};
  for (size_t i = 0; i < message.tool_calls.size(); ++i) {
    calls.items.push_back(CallValue(message.tool_calls[i], i));
  }
  Struct of{.type = "template.templateMessage", .pointer = true};
  of.fields = {Member("Role", "Role", RoleValue(message.role)),
               Member("Content", "Content", UserText(message.content)),
               Member("Thinking", "Thinking", UserText(message.reasoning)),
               Member("Images", "Images", Value(List{.type = "[]api.ImageData", .nil = true})),
               Member("ToolCalls", "ToolCalls", Value(std::move(calls))),
               Member("ToolName", "ToolName", UserText(std::move(tool_name))),
               Member("ToolCallID", "ToolCallID", UserText(message.tool_call_id))};
  return Value(std::move(of));
}

}  // namespace

absl::StatusOr<Value> GoValueOfJson(std::string_view json) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(json));
  return AnyValue(document.root());
}

Collated Collate(const std::vector<Message>& messages) {
  Collated collated;
  bool has_system = false;
  for (const Message& message : messages) {
    const std::string role = message.role == "developer" ? "system" : message.role;
    if (role == "system") {
      absl::StrAppend(&collated.system, has_system ? "\n\n" : "", message.content);
      has_system = true;
    }
    const bool joins =
        !collated.messages.empty() && collated.messages.back().role == role && role != "tool";
    if (joins) {
      absl::StrAppend(&collated.messages.back().content, "\n\n", message.content);
    } else {
      collated.messages.push_back(message);
      collated.messages.back().role = role;
    }
  }
  return collated;
}

Value MessagesValue(const std::vector<Message>& messages) {
  List list{.type = "[]*template.templateMessage", .nil = messages.empty()};
  CalledTools called;
  for (const Message& message : messages) {
    list.items.push_back(MessageValue(message, ToolNameOf(message, called)));
    for (const ToolCall& call : message.tool_calls) called.emplace(call.id, call.name);
  }
  return Value(std::move(list));
}

absl::StatusOr<Value> ToolsForGo(const std::vector<Tool>& tools) {
  List list{.type = "template.templateTools", .wording = Wording::kJson, .nil = tools.empty()};
  for (size_t i = 0; i < tools.size(); ++i) {
    const Tool& tool = tools[i];
    const auto schema = base::JsonDocument::Parse(tool.parameters.empty() ? "{}" : tool.parameters);
    if (!schema.ok()) {
      return base::Annotate(schema.status(), absl::StrCat("tools[", i, "].parameters"));
    }
    // As JSON where Go would print a struct: templates of the library write {{ .Function }} into a
    // JSON object, and Ollama's own types have said it so.
    Struct function{.type = "template.templateToolFunction", .wording = Wording::kJson};
    function.fields = {Member("Name", "name", UserText(tool.name)),
                       Member("Description", "description", UserText(tool.description)),
                       Member("Parameters", "parameters", ParametersValue(schema->root()))};
    Struct of{.type = "template.templateTool", .wording = Wording::kJson};
    of.fields = {Member("Type", "type", Value::Own("function")),
                 Member("Items", "items", Value::Nil(), true),
                 Member("Function", "function", Value(std::move(function)))};
    list.items.push_back(Value(std::move(of)));
  }
  return Value(std::move(list));
}

}  // namespace conclave::engine
