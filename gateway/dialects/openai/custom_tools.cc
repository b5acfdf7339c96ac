#include "gateway/dialects/openai/custom_tools.h"

#include <algorithm>
#include <utility>

#include "gateway/dialects/openai/chat_request.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

constexpr std::string_view kInput = "input";

// What the whole input must match; "" = any text.
absl::StatusOr<std::string> ReadInputFormat(JsonValue format) {
  if (format.missing()) return std::string();
  RETURN_IF_ERROR(format.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, format.Get("type").AsString());
  if (type == "text") return std::string();
  if (type != "grammar") return format.Get("type").Error("expected text or grammar");
  const JsonValue grammar = format.Get("grammar");
  RETURN_IF_ERROR(grammar.ExpectObject());
  const JsonValue syntax = grammar.Get("syntax");
  ASSIGN_OR_RETURN(const std::string name, syntax.AsString());
  if (name == "lark") return syntax.Error("\"lark\" is not supported by this server; use regex");
  if (name != "regex") return syntax.Error("expected regex");
  ASSIGN_OR_RETURN(const std::string expression, grammar.Get("definition").AsString());
  if (expression.empty()) return grammar.Get("definition").Error("must not be empty");
  return "^(?:" + expression + ")$";
}

std::string Parameters(const std::string& pattern) {
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "object");
  json.Key("properties");
  json.BeginObject();
  json.Key(kInput);
  json.BeginObject();
  json.Field("type", "string");
  if (!pattern.empty()) json.Field("pattern", pattern);
  json.EndObject();
  json.EndObject();
  json.Key("required");
  json.BeginArray();
  json.String(kInput);
  json.EndArray();
  json.Field("additionalProperties", false);
  json.EndObject();
  return json.Take();
}

std::string InputOf(const std::string& arguments) {
  const auto document = JsonDocument::Parse(arguments);
  if (!document.ok()) return arguments;
  return document->root().Get(kInput).AsString().value_or(arguments);
}

// The JSON string that ends with this character or escape, without quotes, as text.
std::string Unescaped(std::string_view text) {
  const auto document = JsonDocument::Parse("\"" + std::string(text) + "\"");
  return document.ok() ? document->root().AsString().value_or("") : "";
}

}  // namespace

absl::Status ReadCustomTool(JsonValue custom, v1::Tool* tool) {
  RETURN_IF_ERROR(custom.ExpectObject());
  RETURN_IF_ERROR(CheckFunctionName(custom.Get("name")));
  ASSIGN_OR_RETURN(*tool->mutable_name(), custom.Get("name").AsString());
  ASSIGN_OR_RETURN(std::optional<std::string> description,
                   custom.Get("description").OptionalString());
  tool->set_description(std::move(description).value_or(std::string()));
  ASSIGN_OR_RETURN(const std::string pattern, ReadInputFormat(custom.Get("format")));
  tool->set_parameters_json(Parameters(pattern));
  tool->set_place(custom.Get("format").path());
  tool->set_strict(true);
  return absl::OkStatus();
}

std::set<std::string> CustomToolNames(JsonValue tools) {
  std::set<std::string> names;
  for (size_t i = 0; i < tools.size(); ++i) {
    const JsonValue name = tools.At(i).Get("custom").Get("name");
    if (tools.At(i).Get("type").AsString().value_or("") != "custom") continue;
    names.insert(name.AsString().value_or(""));
  }
  return names;
}

absl::Status ReadCustomCall(JsonValue custom, v1::ToolCall* call) {
  RETURN_IF_ERROR(custom.ExpectObject());
  ASSIGN_OR_RETURN(*call->mutable_name(), custom.Get("name").AsString());
  ASSIGN_OR_RETURN(const std::string input, custom.Get(kInput).AsString());
  JsonWriter json;
  json.BeginObject();
  json.Field(kInput, input);
  json.EndObject();
  call->set_arguments(json.Take());
  return absl::OkStatus();
}

void WriteCustomCall(JsonWriter& json, const v1::ToolCall& call) {
  json.BeginObject();
  json.Field("id", call.id());
  json.Field("type", "custom");
  json.Key("custom");
  json.BeginObject();
  json.Field("name", call.name());
  json.Field(kInput, InputOf(call.arguments()));
  json.EndObject();
  json.EndObject();
}

std::string CustomInput::Feed(std::string_view fragment) {
  held_ += fragment;
  if (at_ == At::kHead) SkipHead();
  if (at_ == At::kOther) return std::exchange(held_, std::string());
  std::string text;
  while (at_ == At::kText && TakeOne(&text)) {
  }
  if (at_ == At::kEnd) held_.clear();
  return text;
}

void CustomInput::SkipHead() {
  size_t at = 0;
  for (const std::string_view part : {"{", "\"input\"", ":", "\""}) {
    at = held_.find_first_not_of(" \t\r\n", at);
    if (at == std::string::npos) return;
    const std::string_view here = std::string_view(held_).substr(at, part.size());
    if (here == part.substr(0, here.size()) && here.size() < part.size()) return;
    if (here != part) {
      at_ = At::kOther;
      return;
    }
    at += part.size();
  }
  held_.erase(0, at);
  at_ = At::kText;
}

bool CustomInput::TakeOne(std::string* text) {
  const size_t special = std::min(held_.find_first_of("\"\\"), held_.size());
  text->append(held_, 0, special);
  held_.erase(0, special);
  if (held_.empty()) return false;
  if (held_.front() == '"') {
    at_ = At::kEnd;
    return false;
  }
  constexpr size_t kUnit = 6;  // \uXXXX
  size_t size = held_.size() > 1 && held_[1] == 'u' ? kUnit : 2;
  if (held_.size() < size) return false;
  // Half of a pair: the other half follows.
  const bool high = size == kUnit && (held_[2] == 'd' || held_[2] == 'D') &&
                    std::string_view("89abAB").find(held_[3]) != std::string_view::npos;
  if (high) size = 2 * kUnit;
  if (held_.size() < size) return false;
  *text += Unescaped(std::string_view(held_).substr(0, size));
  held_.erase(0, size);
  return true;
}

}  // namespace conclave::gateway::openai
