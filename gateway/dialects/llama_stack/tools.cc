#include "gateway/dialects/llama_stack/tools.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/dialects/openai/sampling.h"

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonValue;
using base::JsonWriter;

// Clients name these without saying what they take: Llama models were trained on them.
struct BuiltinTool {
  std::string_view name;
  std::string_view description;
  std::string_view argument;
  std::string_view argument_description;
};
constexpr std::array kBuiltinTools = {
    BuiltinTool{"brave_search", "Search the web.", "query", "What to search for"},
    BuiltinTool{"wolfram_alpha", "Ask WolframAlpha for facts and calculations.", "query",
                "The question"},
    BuiltinTool{"photogen", "Make a picture from a description.", "query",
                "What the picture shows"},
    BuiltinTool{"code_interpreter", "Run Python code.", "code", "The code to run"},
};

const BuiltinTool* FindBuiltin(std::string_view name) {
  const auto* const found =
      std::find_if(kBuiltinTools.begin(), kBuiltinTools.end(),
                   [name](const BuiltinTool& tool) { return tool.name == name; });
  return found == kBuiltinTools.end() ? nullptr : found;
}

std::string BuiltinSchema(const BuiltinTool& tool) {
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "object");
  json.Key("properties");
  json.BeginObject();
  json.Key(tool.argument);
  json.BeginObject();
  json.Field("type", "string");
  json.Field("description", tool.argument_description);
  json.EndObject();
  json.EndObject();
  json.Key("required");
  json.BeginArray();
  json.String(tool.argument);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

// param_type is a word of Python's or of JSON Schema's: "str", "integer", "list[int]". Empty for
// one that neither has, which then allows anything.
std::string_view SchemaType(std::string_view word) {
  struct Row {
    std::string_view word;
    std::string_view type;
  };
  static constexpr Row kRows[] = {
      {"string", "string"}, {"str", "string"},    {"integer", "integer"}, {"int", "integer"},
      {"number", "number"}, {"float", "number"},  {"boolean", "boolean"}, {"bool", "boolean"},
      {"array", "array"},   {"list", "array"},    {"object", "object"},   {"dict", "object"},
      {"null", "null"},     {"NoneType", "null"},
  };
  for (const Row& row : kRows) {
    if (row.word == word) return row.type;
  }
  return {};
}

// The members of a schema that a param_type stands for.
void WriteType(JsonWriter& json, std::string_view word) {
  const size_t bracket = word.find('[');
  const std::string_view outer = word.substr(0, bracket);
  const std::string_view type = SchemaType(outer == "List" ? "list" : outer);
  if (type.empty()) return;
  json.Field("type", type);
  if (type != "array" || bracket == std::string_view::npos || word.back() != ']') return;
  json.Key("items");
  json.BeginObject();
  WriteType(json, word.substr(bracket + 1, word.size() - bracket - 2));
  json.EndObject();
}

absl::Status WriteParameter(JsonWriter& json, JsonValue parameter) {
  RETURN_IF_ERROR(parameter.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, parameter.Get("param_type").AsString());
  ASSIGN_OR_RETURN(const std::optional<std::string> description,
                   parameter.Get("description").OptionalString());
  json.BeginObject();
  const JsonValue items = parameter.Get("items");
  if (items.missing()) {
    WriteType(json, type);
  } else {
    RETURN_IF_ERROR(items.ExpectObject());
    json.Field("type", "array");
    json.RawField("items", items.ToJson());
  }
  if (description) json.Field("description", *description);
  const JsonValue fallback = parameter.Get("default");
  if (!fallback.missing()) json.RawField("default", fallback.ToJson());
  json.EndObject();
  return absl::OkStatus();
}

// {name: {param_type, description, required, default}} → a JSON schema of an object.
absl::StatusOr<std::string> ParametersSchema(JsonValue parameters) {
  RETURN_IF_ERROR(parameters.ExpectObject());
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "object");
  json.Key("properties");
  json.BeginObject();
  absl::Status status;
  std::vector<std::string> required;
  parameters.ForEachMember([&](std::string_view name, JsonValue parameter) {
    if (!status.ok()) return;
    json.Key(name);
    status = WriteParameter(json, parameter);
    if (!status.ok()) return;
    const absl::StatusOr<std::optional<bool>> needed = parameter.Get("required").OptionalBool();
    if (!needed.ok()) {
      status = needed.status();
    } else if (needed->value_or(true)) {
      required.emplace_back(name);
    }
  });
  RETURN_IF_ERROR(status);
  json.EndObject();
  json.Key("required");
  json.BeginArray();
  for (const std::string& name : required) json.String(name);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

absl::Status ReadTool(JsonValue from, v1::Tool* tool) {
  RETURN_IF_ERROR(from.ExpectObject());
  const JsonValue name = from.Get("tool_name");
  RETURN_IF_ERROR(openai::CheckFunctionName(name));
  ASSIGN_OR_RETURN(*tool->mutable_name(), name.AsString());
  ASSIGN_OR_RETURN(std::optional<std::string> description,
                   from.Get("description").OptionalString());
  const BuiltinTool* const builtin = FindBuiltin(tool->name());
  if (!description && builtin != nullptr) description = std::string(builtin->description);
  tool->set_description(std::move(description).value_or(std::string()));
  const JsonValue parameters = from.Get("parameters");
  if (!parameters.missing()) {
    ASSIGN_OR_RETURN(*tool->mutable_parameters_json(), ParametersSchema(parameters));
  } else if (builtin != nullptr) {
    tool->set_parameters_json(BuiltinSchema(*builtin));
  }
  return absl::OkStatus();
}

// auto, required, none, or the name of a tool.
absl::Status ReadChoice(JsonValue choice, v1::ChatPrompt* chat) {
  ASSIGN_OR_RETURN(std::optional<std::string> given, choice.OptionalString());
  if (!given) return absl::OkStatus();
  if (*given == "auto" || *given == "none" || *given == "required") {
    return openai::ReadToolChoice(choice, chat);
  }
  if (!openai::HasTool(*chat, *given)) {
    return choice.Error("expected auto, required, none or the name of a tool that is given");
  }
  chat->mutable_tool_choice()->set_mode(v1::ToolChoice::MODE_NAMED);
  chat->mutable_tool_choice()->set_name(*std::move(given));
  return absl::OkStatus();
}

// How a call is written is the model's template's to say.
absl::Status CheckPromptFormat(JsonValue format) {
  ASSIGN_OR_RETURN(const std::optional<std::string> name, format.OptionalString());
  if (!name || *name == "json" || *name == "function_tag" || *name == "python_list") {
    return absl::OkStatus();
  }
  return format.Error("expected json, function_tag or python_list");
}

absl::Status CheckSystemMessageBehavior(JsonValue behavior) {
  ASSIGN_OR_RETURN(const std::optional<std::string> name, behavior.OptionalString());
  if (!name || *name == "append") return absl::OkStatus();
  if (*name != "replace") return behavior.Error("expected append or replace");
  return base::WithParam(
      base::Unimplemented(behavior.path() + ": the tools' prompt is the model's template's own"),
      behavior.path());
}

// The old field next to the new one must say the same.
absl::Status CheckAgree(JsonValue root, JsonValue config, std::string_view name) {
  const JsonValue old_field = root.Get(name);
  const JsonValue new_field = config.Get(name);
  if (old_field.missing() || new_field.missing() || old_field.ToJson() == new_field.ToJson()) {
    return absl::OkStatus();
  }
  return old_field.Error("is not the same as in tool_config");
}

}  // namespace

absl::Status ReadToolFields(JsonValue root, v1::ChatPrompt* chat) {
  chat->set_parallel_tool_calls(true);
  RETURN_IF_ERROR(openai::ReadToolList(root.Get("tools"), "tool_name", ReadTool, chat));
  RETURN_IF_ERROR(CheckPromptFormat(root.Get("tool_prompt_format")));
  const JsonValue config = root.Get("tool_config");
  if (config.missing()) return ReadChoice(root.Get("tool_choice"), chat);
  RETURN_IF_ERROR(config.ExpectObject());
  for (const std::string_view name : {"tool_choice", "tool_prompt_format"}) {
    RETURN_IF_ERROR(CheckAgree(root, config, name));
  }
  RETURN_IF_ERROR(CheckPromptFormat(config.Get("tool_prompt_format")));
  RETURN_IF_ERROR(CheckSystemMessageBehavior(config.Get("system_message_behavior")));
  const JsonValue choice = config.Get("tool_choice");
  return ReadChoice(choice.missing() ? root.Get("tool_choice") : choice, chat);
}

}  // namespace conclave::gateway::llama_stack
