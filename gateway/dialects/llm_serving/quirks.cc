#include "gateway/dialects/llm_serving/quirks.h"

#include "base/json.h"

namespace conclave::gateway::llm_serving {

using base::JsonValue;

std::optional<std::string> BarePrompt(std::string_view body) {
  const auto document = base::JsonDocument::Parse(body);
  if (!document.ok()) return std::nullopt;
  const JsonValue messages = document->root().Get("messages");
  if (!messages.is_array() || messages.size() == 0) return std::nullopt;
  std::string prompt;
  for (size_t i = 0; i < messages.size(); ++i) {
    const JsonValue message = messages.At(i);
    const absl::StatusOr<std::string> content = message.Get("content").AsString();
    if (!content.ok() || message.Get("role").present()) return std::nullopt;
    prompt += (i > 0 ? "\n" : "") + *content;
  }
  if (prompt.empty()) return std::nullopt;
  return prompt;
}

std::string WithEmbedDefaults(std::string_view body) {
  const auto document = base::JsonDocument::Parse(body);
  if (!document.ok() || !document->root().is_object()) return std::string(body);
  const JsonValue root = document->root();
  base::JsonWriter json;
  json.BeginObject();
  root.ForEachMember(
      [&json](std::string_view name, JsonValue value) { json.RawField(name, value.ToJson()); });
  if (!root.Get("model").present()) json.Field("model", "mock-embed-model");
  if (!root.Get("user").present()) json.Field("user", "007");
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::llm_serving
